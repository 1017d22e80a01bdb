"""What we sign, the real cosign verifies; what cosign signs, we verify."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.interop.conftest import Example, Tool
from tests.mlxbuild.conftest import CommandLine
from tests.registries import RegistryProcess

OFFLINE = ("--insecure-ignore-tlog=true", "--allow-http-registry")


def test_cosign_verifies_our_signature_and_provenance(hello: Example, registry: RegistryProcess, tool: Tool) -> None:
    name = f"{registry.host}/cosign/hello"
    for variant in ("int4", "none"):
        assert hello.mlxbuild("push", f"hello:{variant}", f"{name}:{variant}").code == 0
    tool("cosign", "verify", "--key", hello.key(), *OFFLINE, f"{name}:int4")
    slsa = ("--type", "slsaprovenance1")
    envelope = json.loads(
        tool("cosign", "verify-attestation", "--key", hello.key(), *slsa, *OFFLINE, f"{name}:int4").splitlines()[0]
    )
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["subject"][0]["digest"]["sha256"] == hello.digests["int4"].removeprefix("sha256:")
    shown = json.loads(hello.mlxbuild("evidence", "hello:int4", "--show", "provenance").out)
    assert statement["predicate"] == shown
    tool("cosign", "verify", "--key", hello.key("stranger"), *OFFLINE, f"{name}:int4", refused=True)
    tool("cosign", "verify", "--key", hello.key(), *OFFLINE, f"{name}:none", refused=True)


def test_we_verify_what_cosign_signs(
    hello: Example, second: CommandLine, registry: RegistryProcess, tool: Tool, tmp_path: Path
) -> None:
    name = f"{registry.host}/cosign/theirs:none"
    assert hello.mlxbuild("push", "hello:none", name).code == 0
    tool("cosign", "generate-key-pair", "--output-key-prefix", "cosign")
    without_log = ("--yes", "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry")
    exact = f"{name.rpartition(':')[0]}@{hello.digests['none']}"
    tool("cosign", "sign", "--key", "cosign.key", *without_log, exact)
    assert second("pull", name).code == 0
    checked = second("verify", name, "--key", str(tmp_path / "cosign.pub"), "--offline")
    assert (checked.code, "signature by sha256:" in checked.out) == (0, True), checked.err
    assert second("verify", name, "--key", hello.key()).code == 10
