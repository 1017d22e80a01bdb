"""Artifacts go to a real registry and come back whole, with what refers to them, and only what is new moves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.artifact.media_types import OCI_INDEX, OCI_MANIFEST
from mlxbuild.registry.artifact.modelpack import ArtifactDescription, tag_descriptor
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.referrers import attach as attach_locally
from mlxbuild.registry.artifact.referrers import referrers
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.oci.exchange import closure
from mlxbuild.registry.oci.exchange.copy import copy
from mlxbuild.registry.oci.exchange.progress import (
    BlobAdvanced,
    BlobEnded,
    Event,
    EvidenceLeftOut,
    ExchangeBegan,
    ExchangeEnded,
    TransferMethod,
)
from mlxbuild.registry.oci.exchange.pull import pull
from mlxbuild.registry.oci.exchange.push import push
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import ManifestUnknown
from mlxbuild.registry.oci.remote.referrers import fallback_tag, list_referrers
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.exchange.conftest import SETTINGS
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy

Build = Callable[..., Blob]


def reference(registry: RegistryProcess, name: str) -> Reference:
    return Reference.parse(f"{registry.host}/{name}")


def remote(registry: RegistryProcess, name: str, store: Store) -> Remote:
    return Remote.open(reference(registry, name), SETTINGS, store.home)


def test_comes_back_byte_for_byte(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    artifact = build_artifact()
    there = reference(registry, "whole/hello:int4-1.0")
    pushed = push(store, artifact.digest, there, settings=SETTINGS, tags=["int4"])
    assert (pushed.tags, pushed.amount.present_bytes) == (("int4-1.0", "int4"), 0)
    pulled = pull(second_store, there, settings=SETTINGS)
    assert (pulled.digest, pulled.name) == (artifact.digest, there.store_name)
    assert pulled.amount == pushed.amount
    assert second_store.read(artifact.digest) == store.read(artifact.digest)
    assert second_store.tags.resolve(there) == artifact.digest
    assert verify(second_store, artifact.digest).ok
    assert sorted(remote(registry, "whole/hello", store).tags()) == ["int4", "int4-1.0"]


def test_only_what_is_new_moves(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    first, second = build_artifact(), build_artifact(**{"mlxbuild/defaults.json": b'{"system_prompt":"Hi"}'})
    there = reference(registry, "delta/hello:a")
    push(store, first.digest, there, settings=SETTINGS)
    pull(second_store, there, settings=SETTINGS)
    assert push(store, first.digest, there, settings=SETTINGS).amount.moved_bytes == 0
    assert pull(second_store, there, settings=SETTINGS).amount.moved_bytes == 0
    config = Artifact.open(store, second.digest).manifest.config.blob
    again = push(store, second.digest, there, settings=SETTINGS)
    assert again.amount.moved_bytes == config.size_bytes + len(b'{"system_prompt":"Hi"}')
    pulled = pull(second_store, there, settings=SETTINGS)
    assert pulled.amount.moved_bytes == again.amount.moved_bytes
    assert second_store.tags.resolve(there) == second.digest


def test_blobs_of_a_neighbour_are_mounted(store: Store, build_artifact: Build, registry: RegistryProcess) -> None:
    artifact = build_artifact()
    first = reference(registry, "mount/first:1")
    push(store, artifact.digest, first, settings=SETTINGS)
    asked = push(
        store, artifact.digest, reference(registry, "mount/second:1"), settings=SETTINGS, mount_from=["mount/first"]
    )
    assert (asked.amount.moved_bytes, asked.amount.present_bytes) == (0, 0)
    assert asked.amount.mounted_bytes > 0
    store.tags.set({first.store_name: tag_descriptor(artifact)})
    known = push(store, artifact.digest, reference(registry, "mount/third:1"), settings=SETTINGS)
    assert known.amount == asked.amount


def test_referrers_travel_both_ways(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    artifact = build_artifact()
    there = reference(registry, "evidence/hello:1")
    first = attach_locally(store, artifact.digest, b"signed", "application/x-first", {"note": "kept"})
    push(store, artifact.digest, there, settings=SETTINGS)
    second = attach_locally(store, artifact.digest, b"counted", "application/x-second", {})
    pushed = push(store, artifact.digest, there, settings=SETTINGS)
    assert pushed.referrers == (first.digest, second.digest)
    pulled = pull(second_store, there, settings=SETTINGS)
    assert set(pulled.referrers) == {first.digest, second.digest}
    assert {each.digest for each in referrers(second_store, artifact.digest)} == set(pulled.referrers)
    assert second_store.read(first.digest) == store.read(first.digest)
    index = json.loads(remote(registry, "evidence/hello", store).get_manifest(fallback_tag(artifact.digest)).data)
    assert [entry["artifactType"] for entry in index["manifests"]] == ["application/x-first", "application/x-second"]
    assert index["manifests"][0]["annotations"] == {"note": "kept"}


def test_what_refers_to_a_referrer_travels_too(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess, other_registry: RegistryProcess
) -> None:
    """A signature of a provenance, and whatever speaks of that."""
    artifact = build_artifact()
    chain = [artifact.digest]
    for number in range(4):
        chain.append(attach_locally(store, chain[-1], f"{number}".encode(), f"application/x-{number}", {}).digest)
    source, target = reference(registry, "chain/hello:1"), reference(other_registry, "chain/hello:1")
    assert push(store, artifact.digest, source, settings=SETTINGS).referrers == tuple(chain[1:])
    copied = copy(source, target, settings=SETTINGS, home=second_store.home)
    assert copied.referrers == tuple(chain[1:])
    pulled = pull(second_store, target, settings=SETTINGS)
    assert pulled.referrers == tuple(chain[1:])
    assert pulled.amount == copied.amount
    for subject, referrer in pairwise(chain):
        assert [each.digest for each in referrers(second_store, subject)] == [referrer]


def test_evidence_without_end_ends(
    store: Store, build_artifact: Build, registry: RegistryProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closure, "MOST_REFERRERS", 3)
    artifact = build_artifact()
    subject = artifact.digest
    for number in range(5):
        subject = attach_locally(store, subject, f"{number}".encode(), "application/x-more", {}).digest
    events: list[Event] = []
    there = reference(registry, "endless/hello:1")
    pushed = push(store, artifact.digest, there, settings=SETTINGS, observe=events.append)
    assert len(pushed.referrers) == 3
    assert [event.reason for event in events if isinstance(event, EvidenceLeftOut)] == [
        f"more than 3 manifests refer to {artifact.digest}: the rest of them is left out"
    ]


def test_neighbours_entries_stay_as_they_are(store: Store, build_artifact: Build, registry: RegistryProcess) -> None:
    artifact = build_artifact()
    there = reference(registry, "neighbour/hello:1")
    push(store, artifact.digest, there, settings=SETTINGS)
    repository = remote(registry, "neighbour/hello", store)
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(artifact.digest)}
    foreign = {**entry, "size": artifact.size_bytes, "x-foreign": [1], "annotations": {"by": "another tool"}}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [foreign]}
    data = json.dumps(index | {"x-more": True}, indent=3).encode()
    repository.put_manifest(data, "application/vnd.oci.image.index.v1+json", fallback_tag(artifact.digest))
    mine = attach_locally(store, artifact.digest, b"mine", "application/x-mine", {})
    push(store, artifact.digest, there, settings=SETTINGS)
    after = json.loads(repository.get_manifest(fallback_tag(artifact.digest)).data)
    assert after["manifests"][0] == foreign
    assert after["x-more"] is True
    assert [each.raw.digest for each in list_referrers(repository, artifact.digest)] == [mine.digest]


def test_writers_at_once_lose_no_entry(store: Store, build_artifact: Build, registry: RegistryProcess) -> None:
    artifact = build_artifact()
    there = reference(registry, "race/hello:1")
    push(store, artifact.digest, there, settings=SETTINGS)

    def evidence(number: int) -> Digest:
        return attach_locally(store, artifact.digest, f"{number}".encode(), f"application/x-{number}", {}).digest

    mine = [evidence(number) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: push(store, artifact.digest, there, settings=SETTINGS), range(4)))
    found = list_referrers(remote(registry, "race/hello", store), artifact.digest)
    assert {each.raw.digest for each in found} == set(mine)


def test_two_pulls_at_once_fetch_each_blob_once(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    artifact = build_artifact(**{"model-00001-of-00002.safetensors": bytes(3_000_000)})
    there = reference(registry, "twice/hello:1")
    moved = push(store, artifact.digest, there, settings=SETTINGS).amount.moved_bytes
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: pull(second_store, there, settings=SETTINGS), range(2)))
    assert sum(each.amount.moved_bytes for each in both) == moved
    assert verify(second_store, artifact.digest).ok


def test_copies_between_registries_with_referrers(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess, other_registry: RegistryProcess
) -> None:
    artifact = build_artifact()
    source, target = reference(registry, "from/hello:1"), reference(other_registry, "to/hello")
    evidence = attach_locally(store, artifact.digest, b"signed", "application/x-first", {})
    push(store, artifact.digest, source, settings=SETTINGS)
    copied = copy(source, target, settings=SETTINGS, home=second_store.home)
    assert (copied.digest, copied.tags, copied.referrers) == (artifact.digest, ("1",), (evidence.digest,))
    assert copied.amount.moved_bytes > 0
    assert list(second_store.blobs()) == []
    again = copy(source, target, settings=SETTINGS, home=second_store.home)
    assert again.amount.moved_bytes == 0
    beside = copy(source, reference(registry, "beside/hello"), settings=SETTINGS, home=second_store.home)
    assert (beside.amount.moved_bytes, beside.amount.mounted_bytes > 0) == (0, True)
    pulled = pull(second_store, reference(other_registry, "to/hello:1"), settings=SETTINGS)
    assert (pulled.digest, pulled.referrers) == (artifact.digest, (evidence.digest,))


def test_pulls_by_digest_without_a_tag(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    artifact = build_artifact()
    push(store, artifact.digest, reference(registry, "digest/hello:1"), settings=SETTINGS)
    pull(second_store, reference(registry, f"digest/hello@{artifact.digest}"), settings=SETTINGS)
    assert second_store.tags.items() == []
    assert [entry.digest for entry in second_store.tags.unnamed()] == [artifact.digest]


def test_events_add_up(store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess) -> None:
    artifact = build_artifact()
    there = reference(registry, "events/hello:1")
    beside = reference(registry, "events/beside:1")
    mount = ["events/hello"]
    for work in (
        lambda observe: push(store, artifact.digest, there, settings=SETTINGS, observe=observe),
        lambda observe: push(store, artifact.digest, beside, settings=SETTINGS, observe=observe, mount_from=mount),
        lambda observe: push(store, artifact.digest, beside, settings=SETTINGS, observe=observe, mount_from=mount),
        lambda observe: copy(there, beside, settings=SETTINGS, home=store.home, observe=observe),
        lambda observe: pull(second_store, there, settings=SETTINGS, observe=observe),
        lambda observe: pull(second_store, there, settings=SETTINGS, observe=observe),
    ):
        events: list[Event] = []
        work(events.append)
        (begun,) = [event for event in events if isinstance(event, ExchangeBegan)]
        assert events[0] == begun
        assert isinstance(events[-1], ExchangeEnded)
        ended = [event for event in events if isinstance(event, BlobEnded)]
        assert begun.blobs == len(ended)
        assert begun.size_bytes == sum(event.item.blob.size_bytes for event in ended)
        assert begun.size_bytes == sum(event.count for event in events if isinstance(event, BlobAdvanced))
        for event in ended:
            assert event.moved_bytes == (event.item.blob.size_bytes if event.way is TransferMethod.MOVED else 0)


def test_another_digest_in_the_name_is_refused(store: Store, build_artifact: Build, registry: RegistryProcess) -> None:
    artifact, other = build_artifact(), Digest.of_bytes(b"other")
    with pytest.raises(InvalidReference, match="another digest"):
        push(store, artifact.digest, reference(registry, f"wrong/hello:1@{other}"), settings=SETTINGS)
    with pytest.raises(ManifestUnknown):
        remote(registry, "wrong/hello", store).get_manifest("1")


def test_skopeo_pulls_what_is_pushed_and_is_pulled_from(
    store: Store,
    second_store: Store,
    build_artifact: Build,
    registry: RegistryProcess,
    real_tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    skopeo, artifact = real_tool("skopeo"), build_artifact()
    push(store, artifact.digest, reference(registry, "skopeo/hello:1"), settings=SETTINGS)

    def run(*words: str) -> None:
        subprocess.run([skopeo, "--insecure-policy", *words], check=True, capture_output=True, timeout=60)

    run("copy", "--src-tls-verify=false", f"docker://{registry.host}/skopeo/hello:1", f"oci:{tmp_path}/layout:one")
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert [entry["digest"] for entry in index["manifests"]] == [str(artifact.digest)]
    run("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/layout:one", f"docker://{registry.host}/skopeo/back:2")
    pulled = pull(second_store, reference(registry, "skopeo/back:2"), settings=SETTINGS)
    assert pulled.digest == artifact.digest
    assert verify(second_store, artifact.digest).ok


@pytest.mark.parametrize("says_so", [True, False])
def test_registries_with_the_referrers_api_keep_the_list_themselves(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess, *, says_so: bool
) -> None:
    artifact = build_artifact()
    first = attach_locally(store, artifact.digest, b"signed", "application/x-first", {})
    listed = {"digest": str(first.digest), "mediaType": OCI_MANIFEST, "size": first.manifest.blob.size_bytes}
    empty, full = ({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries} for entries in ([], [listed]))
    with FaultProxy(registry.host) as proxy:

        def lists(index: dict[str, object], times: int) -> Fault:
            body, headers = json.dumps(index).encode(), {"Content-Type": OCI_INDEX}
            return Fault("GET", "/referrers/", times=times, status=200, body=body, headers=headers)

        proxy.faults[:] = [lists(empty, 1), lists(full, 100)]
        if says_so:
            proxy.faults.append(Fault("PUT", "/manifests/", times=100, headers={"OCI-Subject": str(artifact.digest)}))
        there = Reference.parse(f"{proxy.host}/api{says_so:d}/hello:1")
        push(store, artifact.digest, there, settings=SETTINGS)
        pulled = pull(second_store, there, settings=SETTINGS)
    assert pulled.referrers == (first.digest,)
    assert list(remote(registry, f"api{says_so:d}/hello", store).tags()) == ["1"], "no tag stands in for the list"


def test_hundreds_of_files_travel(
    store: Store, second_store: Store, description: ArtifactDescription, registry: RegistryProcess
) -> None:
    files = [
        ArtifactFile(f"docs/{number}.md", FileRole.DOC, store.put(f"{number}".encode(), durable=False))
        for number in range(300)
    ]
    artifact = modelpack.build(store, description, files)
    there = reference(registry, "hundreds/hello:1")
    push(store, artifact.digest, there, settings=SETTINGS, jobs=8)
    assert pull(second_store, there, settings=SETTINGS, jobs=8).digest == artifact.digest
    assert verify(second_store, artifact.digest).ok
