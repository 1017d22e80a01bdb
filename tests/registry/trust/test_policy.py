"""The policy: who has to have signed what is used under which name, and that a bad policy trusts nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.errors import InvalidPolicy, KeyUnusable, Untrusted
from mlxbuild.registry.trust.evidence import Evidence, sign, signature
from mlxbuild.registry.trust.keys import PrivateKey, write_pair
from mlxbuild.registry.trust.policy import admit
from mlxbuild.registry.trust.statement import PROVENANCE, Statement


@dataclass
class Place:
    """A store with one artifact and a policy."""

    store: Store
    artifact: Digest
    told: list[str] = field(default_factory=list)

    def rules(self, text: str) -> None:
        """Write the policy."""
        (self.store.home.root / "policy.yaml").write_text(text)

    def admit(self, name: str) -> None:
        """Ask for the artifact under a name."""
        admit(self.store, Reference.parse(name), self.artifact, tell=self.told.append)


@pytest.fixture
def place(store: Store, build_artifact: Callable[..., Blob], key: PrivateKey, other_key: PrivateKey) -> Place:
    """Two public keys beside the policy, `acme.pub` and `other.pub`."""
    write_pair(key, store.home.root / "keys" / "acme.key", None)
    write_pair(other_key, store.home.root / "keys" / "other.key", None)
    manifest = build_artifact()
    store.tags.set({"ghcr.io/acme/hello:latest": tag_descriptor(manifest), "hello:mine": tag_descriptor(manifest)})
    return Place(store, manifest.digest)


ENFORCE = "- {pattern: ghcr.io/acme/*, mode: enforce, keys: [keys/acme.pub]}\n"


def test_without_a_policy_everything_is_let_through(place: Place) -> None:
    place.admit("ghcr.io/acme/hello")
    assert place.told == []


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "~\n", "# - pattern: '*'\n", "---\n", "{}", "0", "false", "''", "[[]]"]
)
def test_a_policy_without_rules_lets_nothing_through(place: Place, text: str) -> None:
    place.rules(text)
    with pytest.raises(InvalidPolicy) as refused:
        place.admit("ghcr.io/acme/hello")
    assert str(place.store.home.root / "policy.yaml") in str(refused.value.where)
    assert "pattern" in f"{refused.value.message} {refused.value.hint}"


def test_a_policy_that_cannot_be_read_lets_nothing_through(place: Place) -> None:
    path = place.store.home.root / "policy.yaml"
    path.mkdir()
    with pytest.raises(InvalidPolicy, match="cannot be read: Is a directory"):
        place.admit("ghcr.io/acme/hello")
    path.rmdir()
    path.symlink_to("nowhere.yaml")
    with pytest.raises(InvalidPolicy, match="a broken link"):
        place.admit("ghcr.io/acme/hello")
    path.unlink()
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidPolicy, match="cannot be read"):
        place.admit("ghcr.io/acme/hello")


def test_an_unsigned_artifact_is_refused_where_the_policy_enforces(place: Place) -> None:
    place.rules(ENFORCE)
    with pytest.raises(Untrusted, match="is not signed") as refused:
        place.admit("ghcr.io/acme/hello")
    assert isinstance(refused.value, TrustError)
    assert refused.value.exit_code == 10
    assert str(place.artifact) in str(refused.value.where)


def test_another_rule_holds_for_other_artifacts_alone(place: Place, build_artifact: Callable[..., Blob]) -> None:
    place.rules(ENFORCE)
    other = build_artifact(LICENSE=b"other")
    place.store.tags.set({"ghcr.io/other/hello:latest": tag_descriptor(other)})
    admit(place.store, Reference.parse("ghcr.io/other/hello"), other.digest, tell=place.told.append)


def test_a_signature_by_one_of_the_keys_is_enough(place: Place, other_key: PrivateKey) -> None:
    place.rules(ENFORCE.replace("acme.pub]", "acme.pub, keys/other.pub]"))
    sign(place.store, other_key, signature(place.artifact))
    place.admit("ghcr.io/acme/hello")
    place.rules(ENFORCE)
    with pytest.raises(Untrusted, match="signed by another key"):
        place.admit("ghcr.io/acme/hello")


def test_a_signature_for_another_artifact_is_refused(place: Place, key: PrivateKey) -> None:
    place.rules(ENFORCE)
    other = place.store.put(place.store.read(place.artifact).replace(b"}", b" }"))
    moved = sign(place.store, key, signature(other.digest))
    assert moved.content is not None
    _attach_bundle(place, place.store.read(moved.content.digest))
    with pytest.raises(Untrusted, match=f"for another artifact .{other.digest}"):
        place.admit("ghcr.io/acme/hello")


def test_signed_provenance_alone_is_no_signature(place: Place, key: PrivateKey) -> None:
    place.rules(ENFORCE)
    sign(place.store, key, Statement((place.artifact,), PROVENANCE, {}))
    with pytest.raises(Untrusted, match="not the artifact itself"):
        place.admit("ghcr.io/acme/hello")


def test_a_damaged_bundle_is_refused_and_harms_no_good_one(place: Place, key: PrivateKey) -> None:
    place.rules(ENFORCE)
    _attach_bundle(place, b"{}")
    with pytest.raises(Untrusted, match="cannot be read"):
        place.admit("ghcr.io/acme/hello")
    sign(place.store, key, signature(place.artifact))
    place.admit("ghcr.io/acme/hello")


def _attach_bundle(place: Place, data: bytes) -> None:
    from mlxbuild.registry.artifact.referrers import attach
    from mlxbuild.registry.trust.bundle import BUNDLE_TYPE

    attach(place.store, place.artifact, data, BUNDLE_TYPE, {})


def test_warn_tells_and_off_is_silent(place: Place) -> None:
    place.rules(ENFORCE.replace("enforce", "warn"))
    place.admit("ghcr.io/acme/hello")
    (told,) = place.told
    assert "is not signed" in told
    assert "`ghcr.io/acme/*`" in told
    place.rules(ENFORCE.replace("enforce", "off"))
    place.admit("ghcr.io/acme/hello")
    assert len(place.told) == 1


def test_the_first_rule_that_matches_decides(place: Place) -> None:
    place.rules(f"- {{pattern: 'ghcr.io/acme/hello:latest', mode: off}}\n{ENFORCE}")
    place.admit("ghcr.io/acme/hello")
    with pytest.raises(Untrusted):
        place.admit("ghcr.io/acme/hello:other")


def test_a_digest_is_held_to_the_rules_of_all_its_names(place: Place, key: PrivateKey) -> None:
    place.rules(ENFORCE)
    with pytest.raises(Untrusted):
        place.admit(f"anything@{place.artifact}")
    sign(place.store, key, signature(place.artifact))
    place.admit(f"anything@{place.artifact}")


def test_a_key_may_stand_in_the_policy(place: Place, key: PrivateKey) -> None:
    pem = key.public.to_pem().decode().replace("\n", "\n      ")
    place.rules(f"- pattern: '*'\n  mode: enforce\n  keys:\n    - |\n      {pem}\n")
    with pytest.raises(Untrusted):
        place.admit("hello:mine")
    sign(place.store, key, signature(place.artifact))
    place.admit("hello:mine")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rules: []", "not a list of rules"),
        ("- 7", "pattern, mode and keys"),
        ("- {mode: enforce, keys: [keys/acme.pub]}", "needs a pattern"),
        ("- {pattern: '*', mode: strict, keys: [keys/acme.pub]}", "`strict` is not a mode"),
        ("- {pattern: '*', keys: [keys/acme.pub]}", "`None` is not a mode"),
        ("- {pattern: '*', mode: enforce}", "needs keys"),
        ("- {pattern: '*', mode: warn, keys: []}", "needs keys"),
        ("- {pattern: '*', mode: enforce, keys: keys/acme.pub}", "keys are a list"),
        ("- {pattern: '*', mode: [enforce], keys: [keys/acme.pub]}", "is not a mode"),
        ("- {pattern: '*', mode: off, key: x}", "`key` is unknown"),
        ("- {pattern: '*'", "not YAML"),
        ("- !!python/object:os.system {}", "not YAML"),
    ],
)
def test_a_policy_that_is_not_understood_lets_nothing_through(place: Place, text: str, reason: str) -> None:
    place.rules(text)
    with pytest.raises(InvalidPolicy, match=reason):
        place.admit("hello:mine")


def test_a_policy_whose_key_is_missing_lets_nothing_through(place: Place) -> None:
    place.rules(ENFORCE.replace("acme.pub", "nobody.pub"))
    with pytest.raises(KeyUnusable):
        place.admit("hello:mine")


def test_a_statement_is_signed_once_by_a_key(place: Place, key: PrivateKey, other_key: PrivateKey) -> None:
    first = sign(place.store, key, signature(place.artifact))
    assert sign(place.store, key, signature(place.artifact)).digest == first.digest
    sign(place.store, other_key, signature(place.artifact))
    assert len(Evidence.gather(place.store, place.artifact, []).attestations) == 2


def test_a_policy_is_read_from_its_own_folder(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place.rules(ENFORCE.replace("acme/*", "other/*"))
    place.admit("hello:mine")


def test_homes_without_a_policy_load_no_cryptography(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import mlxbuild.registry.oci.exchange.pull
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.policy import admit
admit(Store.open(Home(Path({str(tmp_path)!r}))), Reference.parse("hello:1"), Digest.of_bytes(b""), tell=print)
print({{"cryptography", "oras", "yaml"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
