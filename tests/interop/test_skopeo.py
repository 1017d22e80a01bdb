"""skopeo carries our artifacts between registries, layouts and archives byte for byte."""

from __future__ import annotations

from tests.interop.conftest import Example, Tool
from tests.mlxbuild.conftest import CommandLine
from tests.registries import RegistryProcess


def test_skopeo_carries_what_we_push(
    hello: Example, second: CommandLine, registry: RegistryProcess, tool: Tool
) -> None:
    name = f"{registry.host}/skopeo/hello:int4"
    assert hello.mlxbuild("push", "hello:int4", name).code == 0
    copy = ("--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false")
    tool("skopeo", *copy, f"docker://{name}", "oci-archive:carried.tar:hello:int4")
    tool("skopeo", *copy, "oci-archive:carried.tar:hello:int4", f"docker://{registry.host}/skopeo/back:1")
    pulled = second("pull", f"{registry.host}/skopeo/back:1")
    assert hello.digests["int4"] in pulled.out, pulled.err
    imported = second("import", "carried.tar")
    assert hello.digests["int4"] in imported.out, imported.err
