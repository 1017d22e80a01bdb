"""Keys, signatures and the policy, as a person uses them on a real build."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.trust.errors import Untrusted
from tests.mlxbuild.conftest import CommandLine
from tests.registries import docker_registry


@pytest.fixture
def signed(mlxbuild: CommandLine) -> CommandLine:
    """A home with a built and signed `tiny:int4`, an unsigned `tiny:none`, and two pairs of keys."""
    mlxbuild.built()
    for name in ("mine", "other"):
        assert mlxbuild("keygen", name).code == 0
    done = mlxbuild("sign", "tiny:int4", "--key", "mine")
    assert done.code == 0, done.err
    assert [line.rsplit(" ", 1)[0] for line in done.out.splitlines()] == [
        "signature",
        "provenance",
        "bill of materials",
        "gate results",
    ]
    return mlxbuild


def test_what_was_signed_is_verified_and_listed(signed: CommandLine) -> None:
    done = signed("verify", "tiny:int4", "--key", "mine", "--offline", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["ok"]
    assert set(told["proven"]) == {"signature", "provenance", "gates"}
    listed = json.loads(signed("evidence", "tiny:int4", "--key", "other", "--json").out)["evidence"]
    assert sorted(row["kind"] for row in listed) == ["bom", "gates", "provenance", "signature"]
    assert all("another key" in row["state"] for row in listed if row["kind"] != "bom")


def test_what_the_space_is_taken_by_agrees_with_what_can_be_freed(signed: CommandLine) -> None:
    def unneeded() -> int:
        (row,) = [row for row in json.loads(signed("cache", "du", "--json").out) if "nothing needs" in row["what"]]
        freed: int = json.loads(signed("gc", "--keep-cache", "--grace", "0", "--dry-run", "--json").out)["freed_bytes"]
        assert row["bytes"] == freed
        return freed

    with_names = unneeded()
    assert signed("rm", *(f"tiny:{tag}" for tag in ("1.0", "int4", "int4-1.0", "latest"))).code == 0
    assert unneeded() > with_names


def test_the_evidence_tells_of_the_run_that_built_it(signed: CommandLine) -> None:
    report = json.loads(signed("log", "last", "--json").out)
    assert signed("create").code == 0  # a later run, in which everything was ready
    provenance = json.loads(signed("evidence", "tiny:int4", "--show", "provenance").out)
    assert provenance["runDetails"]["metadata"]["invocationId"] == report["run"]
    steps = {step["step"]: step for step in provenance["buildDefinition"]["internalParameters"]["steps"]}
    assert set(steps) == {"quantize", "tokenizer", "template", "pack", "gate"}
    assert set(steps["quantize"]["tools"]) >= {"mlx"}
    bill = json.loads(signed("evidence", "tiny:int4", "--show", "bom").out)
    assert bill["bomFormat"] == "CycloneDX"
    for other in ("sbom", "cyclonedx", "CycloneDX"):
        assert json.loads(signed("evidence", "tiny:int4", "--show", other).out) == bill
    for other in ("slsa", "attestation"):
        assert json.loads(signed("evidence", "tiny:int4", "--show", other).out) == provenance
    gates = json.loads(signed("evidence", "tiny:int4", "--show", "gates").out)
    assert (gates["result"], gates["passedTests"]) == ("PASSED", ["contents", "size"])
    again = json.loads(signed("sign", "tiny:int4", "--key", "mine", "--json").out)["attached"]
    assert again["provenance"] in {row["digest"] for row in _evidence(signed)}
    assert len(_evidence(signed)) == 4


def _evidence(mlxbuild: CommandLine) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(mlxbuild("evidence", "tiny:int4", "--json").out)["evidence"]
    return rows


@pytest.mark.parametrize(
    ("words", "reason"),
    [(("tiny:int4", "--key", "other"), "signed by another key"), (("tiny:none", "--key", "mine"), "is not signed")],
)
def test_a_wrong_key_and_an_unsigned_artifact_are_refused(
    signed: CommandLine, words: tuple[str, ...], reason: str
) -> None:
    done = signed("verify", *words)
    assert done.code == 10
    assert reason in done.err


def test_an_unsigned_artifact_is_told_how_to_sign(signed: CommandLine) -> None:
    refused = signed("verify", "tiny:none", "--key", "mine").err
    assert refused.endswith("hint: `mlxbuild sign NAME --key KEY` signs it\n")


def test_gates_of_a_later_run_are_signed_and_none_are_told(mlxbuild: CommandLine) -> None:
    assert mlxbuild("keygen", "mine").code == 0
    built = mlxbuild("create", "--no-gates")
    digest = dict(line.split() for line in built.out.splitlines())["tiny:int4@1.0"]
    lacking = mlxbuild("sign", digest, "--key", "mine")
    assert "gate results" not in lacking.out
    assert lacking.err == (
        "warning: no gate results were signed, because none are known here: "
        "`mlxbuild create` runs the gates of the recipe; then sign again\n"
    )
    assert mlxbuild.built() == digest
    signed = mlxbuild("sign", digest, "--key", "mine")
    assert (signed.out.splitlines()[-1].rpartition(" ")[0], signed.err) == ("gate results", "")
    gates = json.loads(mlxbuild("evidence", "tiny:int4", "--show", "gates").out)
    assert (gates["result"], gates["passedTests"]) == ("PASSED", ["contents", "size"])


def test_a_layout_and_an_archive_are_verified_where_they_lie(signed: CommandLine) -> None:
    assert signed("pack", "tiny:int4", "-o", "tiny.tar").code == 0
    layout = signed.folder / "layout"
    layout.mkdir()
    with tarfile.open(signed.folder / "tiny.tar") as archive:
        archive.extractall(layout, filter="data")
    keys = {name: str(signed.home.root / "keys" / f"{name}.pub") for name in ("mine", "other")}
    elsewhere = CommandLine(signed.folder, Home(signed.folder.parent / "elsewhere"))
    for place in ("tiny.tar", "./layout"):
        done = elsewhere("verify", place, "--key", keys["mine"], "--offline", "--json")
        assert done.code == 0, done.err
        assert set(json.loads(done.out)["proven"]) == {"signature", "provenance", "gates"}
        refused = elsewhere("verify", place, "--key", keys["other"], "--offline")
        assert refused.code == 10
        assert "signed by another key" in refused.err
    assert elsewhere.store.tags.entries() == []
    assert not list(elsewhere.store.blobs())
    assert elsewhere("verify", str(signed.home.store), "--key", keys["mine"]).code == 2  # it holds two artifacts


def test_an_artifact_is_verified_in_its_registry(signed: CommandLine, tmp_path: Path) -> None:
    key = str(signed.home.root / "keys" / "mine.pub")
    elsewhere = CommandLine(signed.folder, Home(tmp_path / "elsewhere"))
    with docker_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/acme/tiny:int4"
        assert signed("push", "tiny:int4", name).code == 0
        done = elsewhere("verify", name, "--key", key)
        assert done.code == 0, done.err
        assert "signature by sha256:" in done.out
        listed = json.loads(elsewhere("evidence", name, "--key", key, "--json").out)["evidence"]
        assert listed == json.loads(signed("evidence", "tiny:int4", "--key", "mine", "--json").out)["evidence"]
        assert elsewhere("evidence", name, "--offline").code == 2
        offline = elsewhere("verify", name, "--key", key, "--offline")
    assert offline.code == 2
    assert "is not in the store" in offline.err
    assert elsewhere.store.tags.items() == []


def test_run_and_test_obey_the_policy(signed: CommandLine) -> None:
    key = signed.home.root / "keys" / "mine.pub"
    policy = signed.home.root / "policy.yaml"
    policy.write_text(f"- {{pattern: tiny, mode: enforce, keys: [{key}]}}\n")
    asked = ("--max-tokens", "1", "Hi")
    refused = signed("run", "tiny:none", *asked)
    assert refused.code == 10
    assert "is not signed" in refused.err
    assert refused.out == ""
    assert signed("run", "tiny:int4", *asked).code == 0
    untested = signed("test", "tiny:none")
    assert (untested.code, untested.out, "is not signed" in untested.err) == (10, "", True)
    assert signed("test", "tiny:int4").code == 0
    policy.write_text(f"- {{pattern: tiny, mode: warn, keys: [{key}]}}\n")
    warned = signed("run", "tiny:none", *asked)
    assert warned.code == 0
    assert "warning: tiny:none: the artifact is not signed" in warned.err


def test_no_copy_is_a_way_around_the_policy(signed: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlxbuild

    assert signed("pack", "tiny:none", "-o", "tiny.tar").code == 0
    none = str(signed.store.tags.resolve(Reference.parse("tiny:none")))
    assert signed("cp", "tiny:none", "mine:x").code == 0
    (signed.folder / "from").mkdir()
    recipe = 'name: built\nversion: "1.0"\nbase: {from: "mine:x"}\nsystem_prompt: Be long.\n'
    (signed.folder / "from" / "ModelSpec.yaml").write_text(recipe)
    done = signed("create", "-f", "from")  # when nobody minds
    assert done.code == 0, done.err
    (built,) = [name for name, _ in signed.store.tags.items() if name.startswith("built") and "1.0" not in name][:1]

    key = signed.home.root / "keys" / "mine.pub"
    (signed.home.root / "policy.yaml").write_text(f"- {{pattern: tiny*, mode: enforce, keys: [{key}]}}\n")
    assert signed("rm", "tiny:none", "tiny:none-1.0").code == 0
    for words in (
        ("test", "mine:x"),
        ("run", "mine:x", "Hi"),
        ("run", none, "Hi"),
        ("run", built, "Hi"),
        ("export", "mine:x", "exported"),
        ("create", "-f", "from"),
        ("import", "tiny.tar", "--name", "mine:y"),
    ):
        refused = signed(*words)
        assert (refused.code, "is not signed" in refused.err) == (10, True), (words, refused.err)
    assert not (signed.folder / "exported").exists()
    monkeypatch.setenv("MLXBUILD_HOME", str(signed.home.root))
    with pytest.raises(Untrusted):
        mlxbuild.load("mine:x")

    elsewhere = CommandLine(signed.folder, Home(signed.folder.parent / "elsewhere"))
    elsewhere.home.root.mkdir()
    shutil.copy(signed.home.root / "policy.yaml", elsewhere.home.root)
    assert elsewhere("import", "tiny.tar", "--name", "mine:y").code == 10
    (elsewhere.home.root / "policy.yaml").unlink()
    assert elsewhere("import", "tiny.tar", "--name", "mine:y").code == 0
    shutil.copy(signed.home.root / "policy.yaml", elsewhere.home.root)
    assert elsewhere("test", "mine:y").code == 10
    assert signed("test", "tiny:int4").code == 0


def test_pull_obeys_the_policy(signed: CommandLine, tmp_path: Path) -> None:
    key = signed.home.root / "keys" / "mine.pub"
    elsewhere = CommandLine(signed.folder, Home(tmp_path / "elsewhere"))
    elsewhere.home.root.mkdir()
    with docker_registry(tmp_path / "registry") as registry:
        (elsewhere.home.root / "policy.yaml").write_text(
            f"- {{pattern: '{registry.host}/acme/*', mode: enforce, keys: ['{key}']}}\n"
        )
        names = {variant: f"{registry.host}/acme/tiny:{variant}" for variant in ("int4", "none")}
        for variant, name in names.items():
            assert signed("push", f"tiny:{variant}", name).code == 0
        refused = elsewhere("pull", names["none"])
        assert refused.code == 10
        assert "the artifact is not signed" in refused.err
        assert elsewhere.store.tags.items() == []
        assert elsewhere("pull", names["int4"]).code == 0
    assert [name for name, _ in elsewhere.store.tags.items()] == [names["int4"]]
    assert elsewhere("verify", names["int4"], "--key", str(key), "--offline").code == 0


def test_a_forgotten_run_takes_nothing_from_the_provenance(signed: CommandLine) -> None:
    before = _evidence(signed)
    shutil.rmtree(signed.home.logs)
    assert signed("sign", "tiny:int4", "--key", "mine").code == 0
    assert _evidence(signed) == before
    assert signed("sign", "tiny:int4", "--key", "other").code == 0
    told = json.loads(signed("evidence", "tiny:int4", "--show", "provenance").out)
    assert "metadata" not in told["runDetails"]


def test_a_key_with_a_password(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    locked = {"MLXBUILD_KEY_PASSWORD": "horse battery"}
    assert mlxbuild("keygen", "locked", "-o", "keys", env=locked).code == 0
    private = mlxbuild.folder / "keys" / "locked.key"
    assert b"ENCRYPTED" in private.read_bytes()
    assert private.stat().st_mode & 0o077 == 0
    refused = mlxbuild("sign", "tiny:int4", "--key", str(private))
    assert refused.code == 2
    assert "set MLXBUILD_KEY_PASSWORD" in refused.err
    assert mlxbuild("sign", "tiny:int4", "--key", str(private), env=locked).code == 0
    assert mlxbuild("verify", "tiny:int4", "--key", str(private.with_suffix(".pub"))).code == 0
    again = mlxbuild("keygen", "locked", "-o", "keys")
    assert again.code == 2
    assert "key-exists" in again.err


def test_evidence_goes_with_its_artifact(signed: CommandLine) -> None:
    assert signed("gc").code == 0
    assert len(_evidence(signed)) == 4
    assert json.loads(signed("list", "--json").out)
    assert "nothing is attached" in signed("evidence", "tiny:none").err
    missing = signed("evidence", "tiny:none", "--show", "bom")
    assert missing.code == 2
    assert "no evidence" in missing.err
