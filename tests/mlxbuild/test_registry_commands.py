"""The commands that talk to registries, as a person uses them, against a real registry."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from tests.hub_server import Fault, LocalHub
from tests.mlxbuild.conftest import PROGRAM, CommandLine, create_here
from tests.registries import PASSWORD, USER, RegistryProcess, docker_registry
from tests.registry.oci.remote.fault_proxy import Fault as NetworkFault
from tests.registry.oci.remote.fault_proxy import FaultProxy
from tests.terminal import run_on_terminal


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """distribution's registry on a port of this machine."""
    with docker_registry(tmp_path_factory.mktemp("registry") / "one") as running:
        yield running


@pytest.fixture(autouse=True)
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential file of the person who runs the tests."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))


@pytest.fixture
def second(mlxbuild: CommandLine, tmp_path: Path) -> CommandLine:
    """The program on another machine."""
    return CommandLine(mlxbuild.folder, Home(tmp_path / "second"))


def test_run_pulls_what_names_a_registry(mlxbuild: CommandLine, second: CommandLine, registry: RegistryProcess) -> None:
    digest = mlxbuild.built()
    name = f"{registry.host}/acme/tiny-run:int4"
    assert mlxbuild("push", "tiny:int4", name).code == 0
    asked = [PROGRAM, "run", name, "Hi", "--max-tokens", "2", "--embedded"]
    code, shown = run_on_terminal(asked, second.folder, second.environment(), typed="n\n")
    assert code == 2
    assert f"pull {name} (" in shown
    assert f"error[unknown-reference]: `{name}` is not in the store" in shown
    assert second("list", "--json").out == "[]\n"
    code, shown = run_on_terminal(asked, second.folder, second.environment(), typed="y\n")
    assert code == 0, shown
    assert json.loads(second("list", "--json").out)[0]["digest"] == digest
    assert second("rm", name, "--all-names").code == 0
    piped = second("run", name, "Hi", "--max-tokens", "2", "--embedded")
    assert piped.code == 0, piped.err
    assert piped.err.startswith(f"pulling {name}, which is not in the store\n")
    again = second("run", name, "Hi", "--max-tokens", "2", "--embedded")
    assert "pulling" not in again.err

    missing = second("run", "acme/tiny", "Hi")
    assert missing.code == 2
    assert missing.err.endswith("`mlxbuild init acme/tiny` begins with a model of the Hub\n")
    assert second("cp", name, "tiny:int8").code == 0
    told = second("run", "tiny:int4", "Hi").err
    assert told.endswith(
        "did you mean `tiny:int8`? `mlxbuild import ollama:tiny:int4` begins with a model of Ollama's registry; "
        "a name with its registry, `host/name:tag`, is pulled\n"
    ), told


def test_push_pull_inspect_list_copy(mlxbuild: CommandLine, second: CommandLine, registry: RegistryProcess) -> None:
    digest = mlxbuild.built()
    name = f"{registry.host}/acme/tiny"
    pushed = mlxbuild("push", "tiny:int4@1.0", name, "--short-tags")
    assert pushed.code == 0, pushed.err
    assert pushed.out.splitlines() == [f"{name}:{tag} {digest}" for tag in ("int4-1.0", "1.0", "int4", "latest")]
    assert re.search(r"^(\d+) files: \1 transferred, \d\S* [kM]B$", pushed.err, re.MULTILINE), pushed.err
    assert len(pushed.err.splitlines()) <= 5, pushed.err

    again = json.loads(mlxbuild("push", "tiny:int4@1.0", name, "--json").out)
    assert [(each["moved_bytes"], each["tags"]) for each in again] == [(0, ["int4-1.0"])]

    seen = json.loads(second("inspect", f"{name}:int4", "--json").out)
    assert (seen["digest"], seen["where"]) == (digest, name)
    assert {file["path"] for file in seen["files"]} >= {"config.json", "tokenizer.json"}
    assert [blob.size_bytes for blob in second.store.blobs()] == [seen["files"][-1]["size"]], "the config alone"
    assert second("inspect", f"{name}:int4", "--manifest").out.strip().encode() == mlxbuild.store.read(
        Digest.parse(digest)
    )
    assert mlxbuild("inspect", "tiny:int4").out.splitlines()[:2] == [f"tiny:int4  {digest}", "  where: store"]

    pulled = second("pull", f"{name}:int4@1.0")
    assert (pulled.code, pulled.out) == (0, f"{name}:int4-1.0 {digest}\n"), pulled.err
    assert second("verify", f"{name}:int4@1.0").code == 0
    assert f"fetched {0} B" in second("pull", f"{name}:int4@1.0").err

    listed = json.loads(second("list", "--remote", name, "--json").out)
    assert [(row["tag"], row["digest"]) for row in listed] == [
        (tag, digest) for tag in ("1.0", "int4", "int4-1.0", "latest")
    ]
    assert second("list", "--remote", name).out.splitlines()[1].split()[:2] == ["1.0", digest[7:19]]

    copied = second("copy", f"{name}:int4", f"{registry.host}/acme/other:x", "--json")
    assert json.loads(copied.out)["digest"] == digest
    assert json.loads(copied.out)["moved_bytes"] == 0, "mounted"


def test_push_tells_that_it_publishes_a_path_of_an_earlier_version(
    mlxbuild: CommandLine, registry: RegistryProcess
) -> None:
    target, base = f"{registry.host}/acme/paths", mlxbuild.folder / "model"
    (mlxbuild.folder / "ModelSpec.yaml").write_text(f'name: a\nversion: "1"\nbase: {{path: "{base}"}}\n')
    told = []
    for as_before in (True, False):
        create_here(mlxbuild.folder, mlxbuild.home, as_before=as_before)
        pushed = mlxbuild("push", "a:none", target, "--json")
        assert pushed.code == 0, pushed.err
        told.append([line for line in pushed.err.splitlines() if line.startswith("warning")])
    what = f"warning: the path `{base}` of the base is in the artifact and is published with it"
    assert told == [[f"{what}; build it again to leave it out"], []]


def test_push_of_all_variants_to_the_default_registry(
    mlxbuild: CommandLine, second: CommandLine, registry: RegistryProcess
) -> None:
    mlxbuild.built()
    default = {"MLXBUILD_DEFAULT_REGISTRY": f"{registry.host}/team"}
    pushed = mlxbuild("push", "tiny", "--all-variants", env=default)
    assert pushed.code == 0, pushed.err
    name = f"{registry.host}/team/tiny"
    assert sorted(line.split()[0] for line in pushed.out.splitlines()) == [f"{name}:int4-1.0", f"{name}:none-1.0"]
    pulled = second("pull", "tiny:none@1.0", env=default)
    assert pulled.out.startswith("tiny:none-1.0 sha256:"), pulled.err
    assert second("show", "tiny:none@1.0").code == 0

    found = second("search", "tin", "--no-hub", env=default)
    assert [line.split() for line in found.out.splitlines()[1:]] == [
        ["tiny", "in", "the", "store:", "none-1.0"],
        [name, "int4-1.0,", "none-1.0"],
    ]
    found = second("search", "tiny:none", "--no-hub", "--registry", registry.host, "--json")
    assert {"where": registry.host, "name": name, "tags": ["none-1.0"]} in json.loads(found.out)


def test_push_of_all_variants_leaves_out_other_versions(mlxbuild: CommandLine, registry: RegistryProcess) -> None:
    mlxbuild.built()
    recipe = mlxbuild.folder / "ModelSpec.yaml"
    recipe.write_text(recipe.read_text().replace('"1.0"', '"1.1"').replace("[int4, none]", "[int4, int8]"))
    assert mlxbuild("create").code == 0
    name = f"{registry.host}/acme/versions"
    pushed = mlxbuild("push", "tiny", name, "--all-variants", "--progress", "none")
    assert sorted(line.split()[0] for line in pushed.out.splitlines()) == [f"{name}:int4-1.1", f"{name}:int8-1.1"]
    told = "left out, because they have another version than `tiny:latest`: int4-1.0, none-1.0"
    assert pushed.err.splitlines()[0] == told


def test_signed_on_the_way_out_and_asked_for_on_the_way_in(
    mlxbuild: CommandLine, second: CommandLine, registry: RegistryProcess
) -> None:
    digest = mlxbuild.built()
    name = f"{registry.host}/signed/tiny:1"
    assert mlxbuild("push", "tiny:int4", name).code == 0
    assert mlxbuild("keygen", "acme").code == 0
    keys = second.home.root / "keys"
    keys.mkdir(parents=True)
    (keys / "acme.pub").write_bytes((mlxbuild.home.root / "keys" / "acme.pub").read_bytes())
    rule = f"- {{pattern: '{registry.host}/signed/*', mode: enforce, keys: [keys/acme.pub]}}\n"
    (second.home.root / "policy.yaml").write_text(rule)
    refused = second("pull", name)
    assert (refused.code, refused.err.startswith("error[untrusted]: the artifact is not signed")) == (10, True)
    assert second.store.tags.items() == []
    pushed = mlxbuild("push", "tiny:int4", name, "--sign", "acme", "--json")
    assert pushed.code == 0, pushed.err
    (described,) = json.loads(pushed.out)
    pulled = json.loads(second("pull", name, "--json").out)
    assert (pulled["digest"], set(pulled["referrers"])) == (digest, set(described["referrers"]))
    assert len(pulled["referrers"]) >= 3
    assert second("verify", name, "--key", "acme").code == 0
    assert "attached: https://slsa.dev/provenance/v1" in second("inspect", name).out


def test_a_push_says_which_tags_moved_and_which_did_not(mlxbuild: CommandLine, registry: RegistryProcess) -> None:
    built = mlxbuild.built()
    target = f"{registry.host}/acme/moves"
    first = mlxbuild("push", "tiny:int4", target, "--progress", "none").err.splitlines()
    assert first[0] == "not pushed: 1.0, int4-1.0, latest; --short-tags pushes the artifact's other tags, too"
    again = mlxbuild("push", "tiny:int4", target, "--short-tags", "--progress", "none").err.splitlines()
    assert again[0] == "int4 named it there already"
    assert not any(line.startswith("not pushed") for line in again)
    moved = mlxbuild("push", "tiny:none", f"{target}:int4", "--progress", "none").err.splitlines()
    assert moved[0] == f"int4 moved there from {built}"


def test_what_cannot_be_done_is_told(mlxbuild: CommandLine, second: CommandLine, registry: RegistryProcess) -> None:
    mlxbuild.built()
    told = mlxbuild("push", "tiny:int4")
    assert (told.code, told.err.splitlines()[-1].split(",")[0]) == (2, "hint: write host/tiny")
    assert "set default_registry in config.yaml" in told.err
    assert mlxbuild("push", "tiny:int4", f"{registry.host}/x", "--all-variants").code == 2
    assert mlxbuild("push", "other", f"{registry.host}/x", "--all-variants").err.startswith("error[nothing-to-push]")
    missing = second("pull", f"{registry.host}/not/there:1")
    assert missing.code == 2
    assert missing.err.startswith(f"error[repository-unknown]: {registry.host} has no repository `not/there`\n")
    assert mlxbuild("push", "tiny:int4", f"{registry.host}/acme/told:int4").code == 0
    mistyped = second("pull", f"{registry.host}/acme/told:int5")
    assert mistyped.code == 2
    assert mistyped.err.startswith(f"error[manifest-unknown]: `{registry.host}/acme/told` has no tag `int5`\n")
    assert mistyped.err.endswith(f"hint: did you mean `{registry.host}/acme/told:int4`?\n")
    assert second("pull", f"{registry.host}/acme/told:zzz").err.endswith("hint: it has `int4`\n")
    assert second("inspect", f"{registry.host}/not/there:1").code == 2
    assert second("list", "--remote", f"{registry.host}/not/there").code == 2
    told = second("list", "--remote", registry.host)
    assert (told.code, told.err) == (
        2,
        f"error[no-repository]: `{registry.host}` is a registry, and names no repository of it\n"
        f"hint: name a repository, such as `{registry.host}/acme/hello`, or search the registry: "
        f"`mlxbuild search WORD --registry {registry.host}`\n",
    )
    unreachable = second("pull", "127.0.0.1:1/acme/tiny:1")
    assert (unreachable.code, unreachable.err.startswith("error[registry-unreachable]")) == (5, True)
    assert second("pull", f"{registry.host}/Upper:1").code == 2
    assert second("pull", "tiny", "--progress", "loud").code == 2


def test_a_closed_and_encrypted_registry(
    mlxbuild: CommandLine, second: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    digest = mlxbuild.built()
    with docker_registry(tmp_path_factory.mktemp("registry") / "closed", htpasswd=True, tls=True) as closed:
        name = f"{closed.host}/acme/tiny:1"
        trusted = {"MLXBUILD_REGISTRY_CA": str(closed.ca)}
        untrusted = mlxbuild("push", "tiny:int4", name, env={"MLXBUILD_REGISTRY_CA": __file__})
        assert untrusted.code in (2, 5)
        refused = mlxbuild("push", "tiny:int4", name, env=trusted)
        assert (refused.code, "mlxbuild login" in refused.err) == (5, True)
        word = ("login", closed.host, "--username", USER, "--password-stdin")
        assert mlxbuild(*word, stdin="wrong\n", env=trusted).code == 5
        assert mlxbuild(*word, stdin=f"{PASSWORD}\n", env=trusted).code == 0
        pushed = mlxbuild("push", "tiny:int4", name, env=trusted)
        assert pushed.code == 0, pushed.err
        assert second("pull", name, env=trusted).out == f"{name} {digest}\n"
        assert second("copy", name, f"{closed.host}/acme/other", env=trusted).code == 0
        assert mlxbuild("logout", closed.host, env=trusted).code == 0
        assert second("pull", name, env=trusted).code == 5


def test_search_of_the_hub(second: CommandLine, local_hub: LocalHub, registry: RegistryProcess) -> None:
    local_hub.publish("acme/tiny-model", {"config.json": b"{}"})
    hub = {"HF_ENDPOINT": local_hub.endpoint}
    found = second("search", "tiny", "--json", env=hub)
    assert json.loads(found.out) == [{"where": "hub", "name": "hf.co/acme/tiny-model", "downloads": 7}]
    assert "no registry was asked" in found.err
    absent = second("search", "absent", env=hub)
    assert absent.out == ""
    assert absent.err.endswith("nothing has `absent` in its name\n")

    local_hub.faults.append(Fault("search", status=403))
    alone = second("search", "tiny", env=hub)
    assert (alone.code, alone.err.startswith("error[hub-access-denied]: the Hub refuses access")) == (2, True)
    beside = second("search", "nothing-at-all", "--registry", registry.host, "--hub", env=hub)
    assert (beside.code, "warning: left out the Hub: the Hub refuses access" in beside.err) == (0, True)
    asked = local_hub.count("search")
    alone = second("search", "tiny-model", "--registry", registry.host, env=hub)
    assert (alone.code, alone.out, local_hub.count("search")) == (0, "", asked)
    offline = second("search", "tiny", env=hub | {"HF_HUB_OFFLINE": "1"})
    assert (offline.code, "HF_HUB_OFFLINE is set" in offline.err) == (5, True), offline.err


def test_an_interrupted_pull_ends_at_once_though_the_registry_is_silent(
    mlxbuild: CommandLine, second: CommandLine, registry: RegistryProcess
) -> None:
    mlxbuild.built()
    assert mlxbuild("push", "tiny:int4", f"{registry.host}/silent/tiny:1").code == 0
    with FaultProxy(registry.host) as proxy:
        proxy.faults.append(NetworkFault("GET", "/blobs/", skip=1, times=100, stall=1))
        pulling = second.start("pull", f"{proxy.host}/silent/tiny:1")
        while len(proxy.asked("GET", "/blobs/")) < 2:
            assert pulling.poll() is None
            time.sleep(0.01)
        pulling.send_signal(signal.SIGINT)
        _, told = pulling.communicate(timeout=60)
    assert (pulling.returncode, told.endswith("\ninterrupted\n")) == (130, True)
    assert second.store.tags.entries() == []
