"""Artifacts that are not what they should be are refused, with the reason, before weights are fetched or tags move."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.files import UnsafePath
from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.referrers import attach as attach_locally
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.admission import BrokenPromises
from mlxbuild.registry.oci.exchange.progress import Event, EvidenceLeftOut, ExchangeBegan, MirrorLeftOut
from mlxbuild.registry.oci.exchange.pull import pull
from mlxbuild.registry.oci.exchange.push import push
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import ManifestTooLarge, ManifestUnknown, TransferCorrupt
from mlxbuild.registry.oci.remote.referrers import InvalidReferrersList
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.errors import Untrusted
from mlxbuild.registry.trust.evidence import sign, signature
from mlxbuild.registry.trust.keys import generate
from tests.registries import RegistryProcess
from tests.registry.oci.exchange.conftest import SETTINGS
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy

Build = Callable[..., Blob]
Spoil = Callable[[dict[str, Any]], None]


@pytest.fixture
def publish(store: Store, build_artifact: Build, registry: RegistryProcess) -> Callable[[str, Spoil], Reference]:
    """Pushes an artifact, then a changed manifest of it under the tag `bad`."""

    def put(name: str, spoil: Spoil) -> Reference:
        artifact = build_artifact()
        push(store, artifact.digest, Reference.parse(f"{registry.host}/{name}:good"), settings=SETTINGS)
        bad = Reference.parse(f"{registry.host}/{name}:bad")
        manifest = json.loads(store.read(artifact.digest))
        spoil(manifest)
        media_type = manifest.get("mediaType", media_types.OCI_MANIFEST)
        Remote.open(bad, SETTINGS, store.home).put_manifest(json.dumps(manifest).encode(), media_type, "bad")
        return bad

    return put


def rename(manifest: dict[str, Any], path: str) -> None:
    manifest["layers"][0]["annotations"] = {media_types.FILE_PATH: path, media_types.TITLE: path}


def change(**changes: object) -> Spoil:
    return lambda manifest: manifest["layers"][0].update(changes)


BAD: dict[str, tuple[Spoil, type[MlxbuildError], str]] = {
    "climbs": (lambda m: rename(m, "../../evil"), UnsafePath, "parent folder"),
    "absolute": (lambda m: rename(m, "/etc/passwd"), UnsafePath, "absolute"),
    "case": (lambda m: rename(m, "CONFIG.json"), UnsafePath, "one file"),
    "below-a-file": (lambda m: rename(m, "config.json/x"), UnsafePath, "one file"),
    "tar": (change(mediaType="application/vnd.cncf.model.weight.v1.tar"), InvalidManifest, "cannot be read"),
    "type": (change(mediaType="application/x-unknown"), InvalidManifest, "cannot be read"),
    "no-path": (change(annotations={}), InvalidManifest, "has no"),
    "order": (lambda m: m["layers"].reverse(), BrokenPromises, "diffIds"),
    "layer-missing": (lambda m: m["layers"].pop(), BrokenPromises, "diffIds"),
    "no-files": (lambda m: m["layers"].clear(), InvalidManifest, "no files"),
    "not-a-model": (lambda m: m["config"].update(mediaType="application/json"), InvalidManifest, "not a model"),
    "set-digest": (
        lambda m: m["annotations"].update({media_types.SET_DIGEST: f"sha256:{'0' * 64}"}),
        BrokenPromises,
        "promised",
    ),
    "artifact-type": (lambda m: m.pop("artifactType"), BrokenPromises, "artifact type"),
}


def be(config_type: str, kind: str | None = None, layer_type: str = "application/vnd.oci.image.layer.v1.tar") -> Spoil:
    """What makes it something else: a manifest of these types."""

    def turn(manifest: dict[str, Any]) -> None:
        manifest["config"]["mediaType"] = config_type
        manifest["layers"] = [{**manifest["layers"][0], "mediaType": layer_type}]
        del manifest["artifactType"]
        if kind is not None:
            manifest["artifactType"] = kind

    return turn


ROCKET = "application/vnd.acme.rocket.v1"
FOREIGN: dict[str, tuple[Spoil, str, str]] = {
    "image": (be("application/vnd.oci.image.config.v1+json"), "a container image", "image.config.v1+json"),
    "docker": (be("application/vnd.docker.container.image.v1+json"), "a container image", "container.image.v1+json"),
    "helm": (be("application/vnd.cncf.helm.config.v1+json"), "a Helm chart", "helm.config.v1+json"),
    "oras": (be("application/vnd.oci.empty.v1+json", ROCKET), "an artifact of type", ROCKET),
    "untyped": (be("application/x-config"), "an artifact of another type", "application/x-config"),
    "ollama": (
        be("application/vnd.docker.container.image.v1+json", None, "application/vnd.ollama.image.model"),
        "a model in Ollama's format",
        "container.image.v1+json",
    ),
}


@pytest.mark.parametrize("way", FOREIGN)
def test_what_is_no_model_is_refused_by_name(way: str, publish: Callable[..., Reference], second_store: Store) -> None:
    spoil, what, media_type = FOREIGN[way]
    with pytest.raises(InvalidManifest, match="not a model") as caught:
        pull(second_store, publish(f"foreign/{way}", spoil), settings=SETTINGS)
    assert what in caught.value.message
    assert media_type in caught.value.message
    assert caught.value.hint is not None
    assert list(second_store.blobs()) == []
    assert second_store.tags.entries() == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{}", "it has no media type"),
        (b'{"mediaType": "application/x-signed", "fsLayers": []}', "application/x-signed"),
        (b'{"manifests": []}', "index"),
        (b'{"manifests": 7, "layers": [], "config": {}}', "index"),
    ],
)
def test_what_is_no_manifest_is_refused_by_name(
    body: bytes, told: str, second_store: Store, registry: RegistryProcess
) -> None:
    with FaultProxy(registry.host) as proxy:
        headers = {"Content-Type": media_types.OCI_MANIFEST}
        proxy.faults.append(Fault("GET", "/manifests/", status=200, body=body, headers=headers))
        with pytest.raises(InvalidManifest) as caught:
            pull(second_store, Reference.parse(f"{proxy.host}/nothing/hello:1"), settings=SETTINGS)
    assert told in caught.value.message
    assert list(second_store.blobs()) == []


@pytest.mark.parametrize("way", BAD)
def test_refused_before_weights(way: str, publish: Callable[..., Reference], second_store: Store) -> None:
    spoil, kind, words = BAD[way]
    bad = publish(f"bad/{way}", spoil)
    events: list[Event] = []
    with pytest.raises(kind, match=words) as caught:
        pull(second_store, bad, settings=SETTINGS, observe=events.append)
    assert caught.value.exit_code == 10
    assert not [event for event in events if isinstance(event, ExchangeBegan)]
    assert second_store.tags.entries() == []
    assert len(list(second_store.blobs())) <= 1, "the config at most"


def test_a_size_that_lies_is_found_while_it_streams(publish: Callable[..., Reference], second_store: Store) -> None:
    def lie(manifest: dict[str, Any]) -> None:
        manifest["layers"][0]["size"] += 1

    bad = publish("bad/size", lie)
    with pytest.raises(TransferCorrupt):
        pull(second_store, bad, settings=SETTINGS)
    assert second_store.tags.entries() == []
    layer = json.loads(Remote.open(bad, SETTINGS, second_store.home).get_manifest("bad").data)["layers"][0]
    assert not second_store.has(Digest.parse(layer["digest"]))


def test_one_blob_with_two_sizes(publish: Callable[..., Reference], second_store: Store) -> None:
    def lie(manifest: dict[str, Any]) -> None:
        manifest["layers"].append({**manifest["layers"][0], "size": 5, "annotations": {media_types.FILE_PATH: "x"}})

    with pytest.raises(InvalidManifest, match="two sizes"):
        pull(second_store, publish("bad/two-sizes", lie), settings=SETTINGS)


def test_an_index_is_no_artifact(publish: Callable[..., Reference], build_artifact: Build, second_store: Store) -> None:
    artifact = build_artifact()

    def index(manifest: dict[str, Any]) -> None:
        manifest.clear()
        entry = {
            "mediaType": media_types.OCI_MANIFEST,
            "digest": str(artifact.digest),
            "size": artifact.size_bytes,
            "platform": {"architecture": "amd64", "os": "linux"},
        }
        manifest.update({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [entry]})

    with pytest.raises(InvalidManifest, match="index") as caught:
        pull(second_store, publish("bad/index", index), settings=SETTINGS)
    assert str(artifact.digest) in str(caught.value.hint)


def test_megabytes_of_manifest_are_judged_and_refused(publish: Callable[..., Reference], second_store: Store) -> None:
    def swell(manifest: dict[str, Any]) -> None:
        first = manifest["layers"][0]
        manifest["layers"] += [{**first, "annotations": {media_types.FILE_PATH: f"f{n}"}} for n in range(10_000)]

    with pytest.raises(BrokenPromises, match="diffIds"):
        pull(second_store, publish("bad/megabytes", swell), settings=SETTINGS)


def test_missing_tag_moves_nothing(publish: Callable[..., Reference], second_store: Store) -> None:
    bad = publish("bad/missing", lambda m: m["annotations"].clear())
    with pytest.raises(ManifestUnknown):
        pull(second_store, Reference(bad.repository, "nothing", None, bad.host), settings=SETTINGS)


def test_a_damaged_weight_at_the_registry_is_refused_and_tags_stay(
    publish: Callable[..., Reference], registry: RegistryProcess, second_store: Store, build_artifact: Build
) -> None:
    good = publish("damaged/hello", lambda m: m["annotations"].update(note="other"))
    artifact = Artifact.open(second_store, pull(second_store, good, settings=SETTINGS).digest)
    weight = artifact.files[0].blob
    (folder,) = [path for path in registry.blobs.glob("*/*") if path.name == weight.digest.hex]
    data = (folder / "data").read_bytes()
    second_store.remove(weight.digest)
    second_store.tags.remove(good.store_name)
    (folder / "data").write_bytes(bytes(len(data)))
    try:
        with pytest.raises(TransferCorrupt):
            pull(second_store, good, settings=SETTINGS)
    finally:
        (folder / "data").write_bytes(data)
    assert not second_store.has(weight.digest)
    assert second_store.tags.items() == []
    pull(second_store, good, settings=SETTINGS)
    assert second_store.has(weight.digest)


def test_evidence_that_lies_or_lacks_a_part_is_left_out(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    artifact, other = build_artifact(), build_artifact(**{"LICENSE": b"paid"})
    there = Reference.parse(f"{registry.host}/lies/hello:1")
    sound = attach_locally(store, artifact.digest, b"sound", "application/x-sound", {})
    about_another = attach_locally(store, other.digest, b"other", "application/x-other", {})
    push(store, other.digest, Reference(there.repository, "2", None, there.host), settings=SETTINGS)
    push(store, artifact.digest, there, settings=SETTINGS)
    remote = Remote.open(there, SETTINGS, store.home)
    tag = f"sha256-{artifact.digest.hex}"
    index = json.loads(remote.get_manifest(tag).data)
    entry = {**index["manifests"][0], "digest": str(about_another.digest)}
    entry["size"] = about_another.manifest.blob.size_bytes
    index["manifests"].append(entry)
    remote.put_manifest(json.dumps(index).encode(), media_types.OCI_INDEX, tag)
    events: list[Event] = []
    pulled = pull(second_store, there, settings=SETTINGS, observe=events.append)
    assert pulled.referrers == (sound.digest,)
    (told,) = [event for event in events if isinstance(event, EvidenceLeftOut)]
    assert (told.digest, told.reason) == (about_another.digest, "it refers to something else")


def test_a_list_of_evidence_that_is_none_stops_no_pull_and_is_not_overwritten(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    artifact = build_artifact()
    there = Reference.parse(f"{registry.host}/no-list/hello:1")
    push(store, artifact.digest, there, settings=SETTINGS)
    remote, tag = Remote.open(there, SETTINGS, store.home), f"sha256-{artifact.digest.hex}"
    foreign = store.read(artifact.digest)
    remote.put_manifest(foreign, media_types.OCI_MANIFEST, tag)
    events: list[Event] = []
    assert pull(second_store, there, settings=SETTINGS, observe=events.append).referrers == ()
    (told,) = [event for event in events if isinstance(event, EvidenceLeftOut)]
    assert (told.digest, "not an index" in told.reason) == (artifact.digest, True)
    attach_locally(store, artifact.digest, b"mine", "application/x-mine", {})
    with pytest.raises(InvalidReferrersList):
        push(store, artifact.digest, there, settings=SETTINGS)
    assert remote.get_manifest(tag).data == foreign


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"layers":' + b"[" * 4_000_000, InvalidManifest),
        (b'{"layers":[' + b"{}," * 1_300_000 + b"{}]}", InvalidManifest),
        (b'{"layers":[' + b"{}," * 5_000_000 + b"{}]}", ManifestTooLarge),
        (b"\xff\xfe", InvalidManifest),
        (b"[]", InvalidManifest),
    ],
    ids=["deep", "many", "too-large", "not-text", "not-an-object"],
)
def test_megabytes_of_nonsense_are_refused(
    body: bytes, kind: type[MlxbuildError], second_store: Store, registry: RegistryProcess
) -> None:
    with FaultProxy(registry.host) as proxy:
        headers = {"Content-Type": media_types.OCI_MANIFEST}
        proxy.faults.append(Fault("GET", "/manifests/", status=200, body=body, headers=headers))
        with pytest.raises(kind):
            pull(second_store, Reference.parse(f"{proxy.host}/nonsense/hello:1"), settings=SETTINGS)
    assert list(second_store.blobs()) == []
    assert second_store.tags.entries() == []


def test_the_policy_decides_before_weights_are_fetched(
    store: Store, second_store: Store, build_artifact: Build, registry: RegistryProcess
) -> None:
    artifact, key = build_artifact(), generate()
    there = Reference.parse(f"{registry.host}/policy/hello:1")
    push(store, artifact.digest, there, settings=SETTINGS)
    (second_store.home.root / "key.pub").write_bytes(key.public.to_pem())
    rule = f"- {{pattern: '{registry.host}/policy/*', mode: enforce, keys: [key.pub]}}\n"
    (second_store.home.root / "policy.yaml").write_text(rule)
    with pytest.raises(Untrusted, match="not signed"):
        pull(second_store, there, settings=SETTINGS)
    assert second_store.tags.items() == []
    assert not any(second_store.has(file.blob.digest) for file in Artifact.open(store, artifact.digest).files)
    sign(store, key, signature(artifact.digest))
    push(store, artifact.digest, there, settings=SETTINGS)
    assert pull(second_store, there, settings=SETTINGS).digest == artifact.digest


def test_a_mirror_is_asked_first_and_its_lies_do_no_harm(
    store: Store,
    second_store: Store,
    tmp_path: Path,
    build_artifact: Build,
    registry: RegistryProcess,
    other_registry: RegistryProcess,
) -> None:
    artifact = build_artifact(**{"LICENSE": b"mirrored"})
    there = Reference.parse(f"{registry.host}/mirror/hello:1")
    push(store, artifact.digest, there, settings=SETTINGS)
    push(store, artifact.digest, Reference.parse(f"{other_registry.host}/mirror/hello:1"), settings=SETTINGS)
    mirrored = Settings(mirrors={registry.host: (other_registry.host, "127.0.0.1:1")}, attempts=2)
    weight = Artifact.open(store, artifact.digest).files[0].blob
    (folder,) = [path for path in other_registry.blobs.glob("*/*") if path.name == weight.digest.hex]
    (folder / "data").write_bytes(bytes(weight.size_bytes))
    events: list[Event] = []
    pulled = pull(second_store, there, settings=mirrored, observe=events.append)
    assert pulled.digest == artifact.digest
    assert second_store.read(weight.digest) == store.read(weight.digest)
    assert {event.name for event in events if isinstance(event, MirrorLeftOut)} == {
        f"{other_registry.host}/mirror/hello",
        "127.0.0.1:1/mirror/hello",
    }
