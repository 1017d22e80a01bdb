"""Verification finds every broken promise, names it, and finds none in a sound artifact."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mlxbuild.registry.artifact import media_types, verification
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.verification import ProblemKind, VerificationReport
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store

Build = Callable[..., Blob]
Change = Callable[[dict[str, Any]], object]


def kinds(report: VerificationReport) -> list[tuple[str, str]]:
    return sorted((problem.kind.value, problem.where) for problem in report.problems)


def rewrite(store: Store, manifest: Blob, change: Change) -> Blob:
    document = json.loads(store.read(manifest.digest))
    change(document)
    return store.put(json.dumps(document).encode())


def rewrite_config(store: Store, manifest: Blob, change: Change) -> Blob:
    def replace(document: dict[str, Any]) -> None:
        config = json.loads(store.read(Digest.parse(document["config"]["digest"])))
        change(config)
        blob = store.put(json.dumps(config).encode())
        document["config"].update(digest=str(blob.digest), size=blob.size_bytes)

    return rewrite(store, manifest, replace)


def overwrite(store: Store, digest: Digest, data: bytes) -> None:
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(data)


def layer_digest(store: Store, manifest: Blob, number: int) -> Digest:
    return Digest.parse(json.loads(store.read(manifest.digest))["layers"][number]["digest"])


@pytest.mark.parametrize("jobs", [None, 1, 7])
def test_a_sound_artifact_has_no_problem(store: Store, build_artifact: Build, jobs: int | None) -> None:
    manifest = build_artifact()
    seen: list[int] = []
    report = verification.verify(store, manifest.digest, jobs=jobs, progress=seen.append)
    assert report.ok
    assert report.checked_blobs == len(list(store.blobs()))
    assert report.checked_bytes == sum(blob.size_bytes for blob in store.blobs())
    assert sum(seen) == report.checked_bytes - manifest.size_bytes


def _titled(prefix: str, number: int) -> Change:
    def change(document: dict[str, Any]) -> None:
        title = document["layers"][number]["annotations"].pop(media_types.FILE_PATH)
        document["layers"][number]["annotations"][media_types.TITLE] = prefix + title

    return change


def test_titles_that_begin_here_are_plain_paths(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    changed = rewrite(store, manifest, _titled("./", 2))
    assert Artifact.open(store, changed.digest).files == Artifact.open(store, manifest.digest).files
    assert verification.verify(store, changed.digest).ok


@pytest.mark.parametrize("prefix", ["./../", ".//", "././", "././../", "/./"])
def test_no_other_way_round_a_path_is_taken(store: Store, build_artifact: Build, prefix: str) -> None:
    changed = rewrite(store, build_artifact(), _titled(prefix, 2))
    assert "unsafe-path" in dict(kinds(verification.verify(store, changed.digest)))


def test_all_problems_of_blobs_are_listed(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    missing, truncated, damaged, shared = (layer_digest(store, manifest, number) for number in (0, 1, 2, 4))
    store.remove(missing)
    overwrite(store, truncated, b"short")
    overwrite(store, damaged, b"x" * store.size(damaged))
    overwrite(store, shared, b"lies")
    report = verification.verify(store, manifest.digest)
    assert not report.ok
    assert kinds(report) == [
        ("digest", "COPY"),
        ("digest", "LICENSE"),
        ("digest", "config.json"),
        ("missing", "model-00001-of-00002.safetensors"),
        ("size", "model-00002-of-00002.safetensors"),
    ]
    assert {problem.digest for problem in report.problems} == {missing, truncated, damaged, shared}


def test_a_bad_manifest_is_the_only_problem(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    overwrite(store, manifest.digest, b"{}")
    assert kinds(verification.verify(store, manifest.digest)) == [("digest", "manifest")]
    store.remove(manifest.digest)
    assert kinds(verification.verify(store, manifest.digest)) == [("missing", "manifest")]
    assert kinds(verification.verify(store, store.put(b"[]").digest)) == [("manifest", "manifest")]


def test_a_bad_config_blob_is_listed_once(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    config = Digest.parse(json.loads(store.read(manifest.digest))["config"]["digest"])
    overwrite(store, config, b"x" * store.size(config))
    assert kinds(verification.verify(store, manifest.digest)) == [("digest", "config")]


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(extra=1),
        lambda config: config["config"].update(bits=4),
        lambda config: config["descriptor"].update(name=""),
        lambda config: config["config"]["capabilities"].update(languages=["eng"]),
        lambda config: config["config"]["capabilities"].update(inputTypes=["smell"]),
        lambda config: config.pop("descriptor"),
        lambda config: config.pop("modelfs"),
        lambda config: config["modelfs"].update(diffIds=[]),
        lambda config: config["modelfs"].update(type="tree"),
        lambda config: config.update(modelfs=[]),
    ],
)
def test_the_config_schema_is_closed_and_checked(store: Store, build_artifact: Build, change: Change) -> None:
    report = verification.verify(store, rewrite_config(store, build_artifact(), change).digest)
    assert kinds(report) == [("config-schema", "config")]


def test_several_schema_problems_are_all_listed(store: Store, build_artifact: Build) -> None:
    changed = rewrite_config(
        store, build_artifact(), lambda config: config.update(x=1, config=5, descriptor={"name": 1})
    )
    assert [problem.message.partition(":")[0] for problem in verification.verify(store, changed.digest).problems] == [
        "the top",
        "config",
        "descriptor.name",
    ]


def test_diff_ids_follow_the_layers(store: Store, build_artifact: Build) -> None:
    changed = rewrite_config(store, build_artifact(), lambda config: config["modelfs"]["diffIds"].reverse())
    assert kinds(verification.verify(store, changed.digest)) == [("diff-ids", "config")]


def test_paths_are_checked(store: Store, build_artifact: Build) -> None:
    def change(document: dict[str, Any]) -> None:
        paths = ["../up", "/abs", "Config.json", "config.json", "a\\b", "LICENSE"]
        for layer, path in zip(document["layers"], paths, strict=True):
            layer["annotations"]["org.cncf.model.filepath"] = path

    report = verification.verify(store, rewrite(store, build_artifact(), change).digest)
    assert kinds(report) == [
        ("set-digest", "manifest"),
        ("unsafe-path", "../up"),
        ("unsafe-path", "/abs"),
        ("unsafe-path", "a\\b"),
        ("unsafe-path", "config.json"),
    ]


def test_layer_types_are_checked(store: Store, build_artifact: Build) -> None:
    def change(document: dict[str, Any]) -> None:
        document["layers"][0]["mediaType"] = "application/vnd.mlxbuild.shard"
        document["layers"][1]["mediaType"] = "application/vnd.cncf.model.weight.v1.tar+gzip"
        del document["layers"][2]["annotations"]
        document["artifactType"] = "application/vnd.other"
        del document["annotations"]["dev.mlxbuild.set.digest"]

    report = verification.verify(store, rewrite(store, build_artifact(), change).digest)
    assert kinds(report) == [
        ("layer-type", "layer 3"),
        ("layer-type", "model-00001-of-00002.safetensors"),
        ("layer-type", "model-00002-of-00002.safetensors"),
        ("manifest", "manifest"),
    ]


def test_the_set_digest_is_checked(store: Store, build_artifact: Build) -> None:
    def change(document: dict[str, Any]) -> None:
        document["annotations"]["dev.mlxbuild.set.digest"] = str(Digest.of_bytes(b"other"))

    assert kinds(verification.verify(store, rewrite(store, build_artifact(), change).digest)) == [
        ("set-digest", "manifest")
    ]


def test_a_manifest_that_lies_about_a_size_is_found(store: Store, build_artifact: Build) -> None:
    changed = rewrite(store, build_artifact(), lambda document: document["layers"][0].update(size=1))
    assert kinds(verification.verify(store, changed.digest)) == [("size", "model-00001-of-00002.safetensors")]


def test_every_kind_is_tested_here() -> None:
    assert {kind.value for kind in ProblemKind} == {
        "missing", "size", "digest", "manifest", "config-schema", "diff-ids", "unsafe-path", "set-digest", "layer-type",
    }  # fmt: skip
