"""The policy holds for an artifact by all names that it has or had, and by what it was built from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.errors import StoreFailure
from mlxbuild.registry.store.gc import collect
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.trust.errors import Untrusted
from mlxbuild.registry.trust.evidence import sign, signature
from mlxbuild.registry.trust.keys import PrivateKey, write_pair
from mlxbuild.registry.trust.policy import admit

ENFORCE = "- {pattern: hello*, mode: enforce, keys: [keys/acme.pub]}\n"


@dataclass
class Place:
    """A store with two artifacts: `hello:none`, which the policy wants signed, and `mine:x`, of other files."""

    store: Store
    hello: Blob
    mine: Blob
    told: list[str] = field(default_factory=list)

    def admit(self, artifact: Blob, name: str) -> None:
        """Ask for an artifact under a name."""
        admit(self.store, Reference.parse(name), artifact.digest, tell=self.told.append)

    def refuse(self, artifact: Blob, name: str) -> str:
        """The same, which has to be refused; returns why."""
        with pytest.raises(Untrusted) as refused:
            self.admit(artifact, name)
        return refused.value.message

    def rules(self, text: str) -> None:
        """Write the policy."""
        (self.store.home.root / "policy.yaml").write_text(text)


@pytest.fixture
def place(store: Store, build_artifact: Callable[..., Blob], key: PrivateKey) -> Place:
    write_pair(key, store.home.root / "keys" / "acme.key", None)
    hello, mine = build_artifact(), build_artifact(LICENSE=b"mine")
    store.tags.set({"hello:none": tag_descriptor(hello), "mine:x": tag_descriptor(mine)})
    place = Place(store, hello, mine)
    place.rules(ENFORCE)
    return place


def test_a_copy_is_held_to_the_rules_of_all_names(place: Place, key: PrivateKey) -> None:
    place.admit(place.mine, "mine:x")
    place.store.tags.set({"mine:copy": tag_descriptor(place.hello)})
    assert "for the name `hello:none`" in place.refuse(place.hello, "mine:copy")
    place.refuse(place.hello, f"mine@{place.hello.digest}")
    sign(place.store, key, signature(place.hello.digest))
    place.admit(place.hello, "mine:copy")


@pytest.mark.parametrize("way", ["removed", "moved"])
def test_a_name_that_is_gone_is_remembered(place: Place, way: str) -> None:
    place.store.tags.set({"mine:copy": tag_descriptor(place.hello)})
    if way == "removed":
        place.store.tags.remove("hello:none")
    else:
        place.store.tags.set({"hello:none": tag_descriptor(place.mine)})
    place.refuse(place.hello, "mine:copy")
    place.refuse(place.hello, f"untagged@{place.hello.digest}")


def test_the_strictest_verdict_counts(place: Place) -> None:
    place.store.tags.set({"mine:copy": tag_descriptor(place.hello)})
    place.rules("- {pattern: 'mine*', mode: off}\n- {pattern: 'm*', mode: off}\n" + ENFORCE)
    place.refuse(place.hello, "mine:copy")
    place.rules("- {pattern: 'mine*', mode: warn, keys: [keys/acme.pub]}\n" + ENFORCE)
    place.refuse(place.hello, "mine:copy")
    assert place.told == []
    place.rules("- {pattern: 'mine*', mode: warn, keys: [keys/acme.pub]}\n")
    place.admit(place.hello, "mine:copy")
    assert len(place.told) == 1


def test_what_was_built_from_an_artifact_is_held_to_its_rules(place: Place, key: PrivateKey) -> None:
    Origins(place.store.home).record({place.mine.digest: Origin(bases=(place.hello.digest,))})
    assert f"for the name `hello:none` of its base {place.hello.digest.short}" in place.refuse(place.mine, "mine:x")
    place.store.tags.remove("hello:none")
    place.refuse(place.mine, "mine:x")
    sign(place.store, key, signature(place.hello.digest))
    place.admit(place.mine, "mine:x")


def test_what_a_base_was_signed_with_outlives_it(place: Place, key: PrivateKey) -> None:
    Origins(place.store.home).record({place.mine.digest: Origin(bases=(place.hello.digest,))})
    sign(place.store, key, signature(place.hello.digest))
    place.store.tags.remove("hello:none")
    for _ in range(2):
        collect(place.store, grace_seconds=0)
        assert not place.store.has(place.hello.digest)
        place.admit(place.mine, "mine:x")
    place.store.tags.remove("mine:x")
    collect(place.store, grace_seconds=0)
    assert Origins(place.store.home).read() == {}
    assert not list(place.store.blobs())


def test_an_unsigned_base_that_is_gone_still_refuses(place: Place) -> None:
    Origins(place.store.home).record({place.mine.digest: Origin(bases=(place.hello.digest,))})
    place.store.tags.remove("hello:none")
    collect(place.store, grace_seconds=0)
    assert not place.store.has(place.hello.digest)
    place.refuse(place.mine, "mine:x")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sha256:0": {}}', '{"x": 1}'])
def test_damaged_origins_let_nothing_through(place: Place, text: str) -> None:
    (place.store.home.root / "origins.json").write_text(text)
    with pytest.raises(StoreFailure) as refused:
        place.admit(place.mine, "mine:x")
    assert "origins.json" in str(refused.value.where)


def test_nothing_is_written_where_nothing_is_new(place: Place) -> None:
    origins = Origins(place.store.home)
    found = {place.mine.digest: Origin(("there:x",), (place.hello.digest,))}
    origins.record(found)
    path = place.store.home.root / "origins.json"
    before = path.stat().st_ino
    origins.record(found)
    assert path.stat().st_ino == before
    assert json.loads(path.read_text())[str(place.mine.digest)]["names"] == ["there:x"]
