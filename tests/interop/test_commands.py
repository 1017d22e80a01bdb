"""Every command that has to do with registries and evidence, as a person uses it, at each real registry."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx
import pytest

from mlxbuild.registry.core.home import Home
from tests.interop.conftest import ASKED, CLOSABLE, EXAMPLE, REGISTRIES, Example
from tests.mlxbuild.conftest import CommandLine, Outcome
from tests.registries import PASSWORD, USER, RegistryProcess


def fine(done: Outcome) -> str:
    """What a command that has to succeed printed."""
    assert done.code == 0, done.err
    return done.out


def test_push_pull_and_look(hello: Example, second: CommandLine, registry: RegistryProcess) -> None:
    name, digests, first = f"{registry.host}/acme/hello", hello.digests, hello.mlxbuild
    assert fine(first("push", "hello:int4@1.0", name, "--sign", "acme")) == f"{name}:int4-1.0 {digests['int4']}\n"
    assert len(fine(first("push", "hello", name, "--all-variants", "--short-tags")).splitlines()) == 8
    assert json.loads(fine(first("push", "hello:int4@1.0", name, "--json")))[0]["moved_bytes"] == 0
    listed = {row["tag"]: row["digest"] for row in json.loads(fine(second("list", "--remote", name, "--json")))}
    assert {variant: listed[f"{variant}-1.0"] for variant in digests} == digests
    assert len(listed) == 8, "no tag that lists referrers"
    (found,) = json.loads(fine(second("search", "acme/hel", "--registry", registry.host, "--no-hub", "--json")))
    assert (found["name"], len(found["tags"])) == (name, 8)
    inspected = json.loads(fine(second("inspect", f"{name}:int4", "--json")))
    assert (inspected["digest"], len(inspected["referrers"])) == (digests["int4"], 4)
    assert second("diff", f"{name}:int4", f"{name}:int8").code == 1
    fine(second("diff", f"{name}:int4", f"{name}:latest"))
    assert fine(second("pull", f"{name}:int4@1.0")) == f"{name}:int4-1.0 {digests['int4']}\n"
    assert fine(second("pull", f"{name}@{digests['int8']}")).endswith(f" {digests['int8']}\n")
    assert second("pull", f"{name}:missing").code == 2
    assert fine(second("run", f"{name}:int4-1.0", *ASKED)) == fine(first("run", "hello:int4", *ASKED)) != ""


def test_verify_evidence_and_policy(hello: Example, second: CommandLine, registry: RegistryProcess) -> None:
    name, key = f"{registry.host}/evidence/hello", hello.key()
    for variant in ("int4", "none"):
        fine(hello.mlxbuild("push", f"hello:{variant}", f"{name}:{variant}"))
    proven = json.loads(fine(second("verify", f"{name}:int4", "--key", key, "--json")))["proven"]
    assert set(proven) == {"signature", "provenance", "gates"}
    listed = json.loads(fine(second("evidence", f"{name}:int4", "--key", key, "--json")))["evidence"]
    assert sorted(row["kind"] for row in listed) == ["bom", "gates", "provenance", "signature"]
    assert second("verify", f"{name}:int4", "--key", hello.key("stranger")).code == 10
    assert second("verify", f"{name}:none", "--key", key).code == 10
    assert second("verify", f"{name}:int4", "--key", key, "--offline").code == 2, "it is not here"
    assert second.store.tags.entries() == []
    rule = f"- {{pattern: '{registry.host}/evidence/*', mode: enforce, keys: ['{key}']}}\n"
    (second.home.root / "policy.yaml").write_text(rule)
    refused = second("pull", f"{name}:none")
    assert (refused.code, "is not signed" in refused.err) == (10, True), refused.err
    fine(second("pull", f"{name}:int4"))
    fine(second("verify", f"{name}:int4", "--key", key, "--offline"))


def test_evidence_is_listed_by_the_registry_or_by_a_tag(hello: Example, registry: RegistryProcess) -> None:
    """Asked of the registry itself: a tag stands in for the referrers API only where there is none."""
    name, digest = "listed/hello", hello.digests["int4"]
    fine(hello.mlxbuild("push", "hello:int4", f"{registry.host}/{name}:int4", "--sign", "acme"))
    evidence = json.loads(fine(hello.mlxbuild("evidence", f"{registry.host}/{name}:int4", "--json")))["evidence"]
    address = f"http://{registry.host}/v2/{name}"
    api = httpx.get(f"{address}/referrers/{digest}")
    assert (api.status_code == 200) == registry.lists_referrers
    tags = set(httpx.get(f"{address}/tags/list").json()["tags"])
    assert tags == {"int4"} if registry.lists_referrers else {"int4", digest.replace(":", "-")}
    accepted = {"Accept": "application/vnd.oci.image.index.v1+json"}
    tagged = httpx.get(f"{address}/manifests/{digest.replace(':', '-')}", headers=accepted)
    index = (api if registry.lists_referrers else tagged).json()
    assert {each["digest"] for each in index["manifests"]} >= {each["digest"] for each in evidence}
    assert len(evidence) >= 4


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_copy_and_mount(
    hello: Example, second: CommandLine, registry: RegistryProcess, kind: str, tmp_path: Path
) -> None:
    """Between repositories without a byte, to each kind of registry with all evidence."""
    source = f"{registry.host}/copy/hello:int4"
    fine(hello.mlxbuild("push", "hello:int4", source))
    beside = json.loads(fine(second("copy", source, f"{registry.host}/copy/beside:1", "--json")))
    assert (beside["moved_bytes"], len(beside["referrers"])) == (0, 4)
    with REGISTRIES[kind](tmp_path / "other") as other:
        target = f"{other.host}/copied/hello:int4"
        fine(second("copy", source, target))
        fine(second("verify", target, "--key", hello.key()))


def test_archives_and_folders(hello: Example, second: CommandLine, registry: RegistryProcess, tmp_path: Path) -> None:
    name = f"{registry.host}/archive/hello:int4"
    fine(hello.mlxbuild("push", "hello:int4", name))
    fine(second("pull", name))
    fine(second("pack", name, "-o", "model.tar"))
    fine(second("verify", "model.tar", "--key", hello.key(), "--offline"))
    with tarfile.open(tmp_path / "model.tar") as archive:
        archive.extractall(tmp_path / "layout", filter="data")
    for source in ("model.tar", "layout"):
        third = CommandLine(tmp_path, Home(tmp_path / f"home-{source}"))
        assert fine(third("import", source)).split()[:2] == [name, hello.digests["int4"]]
        fine(third("verify", name, "--key", hello.key(), "--offline"))
    fine(second("export", name, "folder"))
    ask = [Path(sys.executable).with_name("mlx_lm.generate"), "--model", tmp_path / "folder", "--prompt", "Hi"]
    answer = subprocess.run([*ask, "--max-tokens", "4"], capture_output=True, text=True, timeout=240)
    assert "Generation: 4 tokens" in answer.stdout, answer.stderr
    render = (
        "import sys; from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained(sys.argv[1]);"
        "print(t.apply_chat_template([{'role': 'user', 'content': 'Hi'}], tokenize=False))"
    )
    rendered = subprocess.run(
        [sys.executable, "-c", render, tmp_path / "folder"], capture_output=True, text=True, timeout=240
    )
    assert "Hi" in rendered.stdout, rendered.stderr


def test_a_build_from_the_cache_of_another_machine(
    hello: Example, second: CommandLine, registry: RegistryProcess, tmp_path: Path
) -> None:
    cache, recipe = f"{registry.host}/cached/hello", ("-f", str(EXAMPLE), "--variant", "int4", "--no-gates")
    fine(CommandLine(tmp_path, Home(tmp_path / "first"))("create", *recipe, "--cache-to", cache))
    assert hello.digests["int4"] in fine(second("create", *recipe, "--cache-from", cache, "--expect-cached"))
    assert second("search", "cached/hello", "--registry", registry.host, "--no-hub").err.startswith("nothing has")


@pytest.mark.parametrize("kind", sorted(CLOSABLE))
def test_a_closed_and_encrypted_registry(kind: str, hello: Example, tmp_path: Path) -> None:
    mlxbuild = hello.mlxbuild
    with CLOSABLE[kind](tmp_path / "closed", htpasswd=True, tls=True) as closed:
        name, trusted = f"{closed.host}/acme/hello:int4", {"MLXBUILD_REGISTRY_CA": str(closed.ca)}
        plain = mlxbuild("push", "hello:int4", name)
        assert (plain.code, "to use https" in plain.err) == (5, True), plain.err
        refused = mlxbuild("push", "hello:int4", name, env=trusted)
        assert (refused.code, f"mlxbuild login {closed.host}" in refused.err) == (5, True)
        login = ("login", closed.host, "--username", USER, "--password-stdin")
        wrong = mlxbuild(*login, stdin="wrong\n", env=trusted)
        assert (wrong.code, "check the user and the password" in wrong.err) == (5, True)
        fine(mlxbuild(*login, stdin=f"{PASSWORD}\n", env=trusted))
        fine(mlxbuild("push", "hello:int4", name, env=trusted))
        elsewhere = CommandLine(tmp_path, Home(tmp_path / "elsewhere"))
        fine(elsewhere("pull", name, env=trusted))
        fine(elsewhere("copy", name, f"{closed.host}/acme/beside:1", env=trusted))
        fine(elsewhere("list", "--remote", f"{closed.host}/acme/hello", env=trusted))
        assert name.rpartition(":")[0] in fine(
            elsewhere("search", "hello", "--registry", closed.host, "--no-hub", env=trusted)
        )
        fine(mlxbuild("logout", closed.host, env=trusted))
        assert elsewhere("pull", name, env=trusted).code == 5
