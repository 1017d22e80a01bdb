"""The trust policy: which artifacts have to be signed, and by which keys.

`policy.yaml` in the home is a list of rules. The first rule whose pattern matches a name decides:

    - pattern: ghcr.io/acme/*      # `*` also matches `/`; a pattern with a tag matches that tag alone
      mode: enforce                # off, warn or enforce
      keys: [keys/acme.pub]        # files beside the policy, or PEM texts; one signature by any of them is enough
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.origins import FILE_NAME as ORIGINS_NAME
from mlxbuild.registry.store.origins import Origin, Origins, bases_of
from mlxbuild.registry.trust.errors import InvalidPolicy, Untrusted

if TYPE_CHECKING:
    from mlxbuild.registry.trust.keys import PublicKey

POLICY_NAME = "policy.yaml"
_FIELDS = {"pattern", "mode", "keys"}
_FORM = (
    'a policy is a list of rules such as `- {pattern: "ghcr.io/acme/*", mode: enforce, keys: [keys/acme.pub]}`; '
    "without any policy there is no such file"
)

Stamp = tuple[int, ...]


class Mode(StrEnum):
    """What happens to an artifact without a valid signature."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class Rule:
    """The mode and keys for names that match a pattern."""

    pattern: str
    mode: Mode
    keys: tuple[PublicKey, ...]

    def matches(self, reference: Reference) -> bool:
        """Whether the pattern matches a name, with or without its tag."""
        return reference.matches(self.pattern)


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules of a home, in order."""

    rules: tuple[Rule, ...]
    where: str

    def rule(self, reference: Reference) -> Rule | None:
        """The first rule that matches a name, if any."""
        return next((rule for rule in self.rules if rule.matches(reference)), None)


def read_policy(home: Home) -> Policy:
    """The policy of a home; it has no rules if there is no file.

    A file without rules is refused: it may have been emptied by a full disk, a failed download or a mistake.

    Raises:
        InvalidPolicy: the file cannot be read, is not a policy, or holds no rule.
        KeyUnusable: a key that a rule names cannot be read.
    """
    path = home.root / POLICY_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path.is_symlink():
            raise InvalidPolicy("the policy is a broken link", where=str(path), hint=_FORM) from None
        return Policy((), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidPolicy(f"the policy cannot be read: {reason}", where=str(path), hint=_FORM) from error
    import yaml  # not loaded by homes without a policy

    try:
        listed = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidPolicy(f"the policy is not YAML: {error}", where=str(path), hint=_FORM) from None
    if listed is None or listed == []:
        raise InvalidPolicy("the policy has no rules, so everything is refused", where=str(path), hint=_FORM)
    if not isinstance(listed, list):
        raise InvalidPolicy("the policy is not a list of rules", where=str(path), hint=_FORM)
    return Policy(tuple(_rule(each, number, path) for number, each in enumerate(listed, 1)), str(path))


def policy_stamp(home: Home) -> Stamp:
    """A value that changes with the policy file and with the names, signatures and origins that it is applied to.

    It is empty if there is no policy. Changes of the key files are not noticed.
    """
    policy = _file_stamp(home.root / POLICY_NAME)
    return policy and (*policy, *_file_stamp(home.store / "index.json"), *_file_stamp(home.root / ORIGINS_NAME))


def _file_stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for each request of a server
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def admit(
    store: Store,
    reference: Reference,
    digest: Digest,
    *,
    tell: Callable[[str], None],
    arrived: Store | None = None,
) -> None:
    """Apply the policy to an artifact that is about to be run, or to be tagged with a name.

    `digest` is the artifact, whose referrers are in the store; `tell` gets the reason in mode `warn`. For an artifact
    that is not in the store yet, its referrers are in `arrived`.

    The rules for all names of the artifact apply: the one asked for, its present and former names in the store, and
    those it was fetched by; so do the rules for everything it was built from here. The strictest verdict counts, so a
    rule cannot be avoided by another name or by a build.

    Raises:
        Untrusted: a rule that applies is `enforce`, and there is no valid signature by one of its keys.
        InvalidPolicy, KeyUnusable: the policy cannot be read.
        StoreFailure: names or origins cannot be read.
    """
    policy = read_policy(store.home)
    if not policy.rules:
        return
    stores = (store, *([arrived] if arrived else []))
    for judgement in sorted(_judgements(policy, store, reference, digest), key=lambda it: it.rule.mode is Mode.WARN):
        judgement.hold(
            stores, f"{reference} ({digest})", policy.where, lambda message: tell(f"warning: {reference}: {message}")
        )


@dataclass(frozen=True, slots=True)
class _Judgement:
    """A rule that applies to an artifact, and the reason why."""

    rule: Rule
    artifact: Digest
    reason: str
    """Why the rule applies; empty if it matches the name that was asked for."""

    def hold(self, stores: Sequence[Store], asked: str, where: str, tell: Callable[[str], None]) -> None:
        from mlxbuild.registry.trust.evidence import Evidence  # not loaded by homes without a policy either

        try:
            found = [each for it in stores for each in Evidence.gather(it, self.artifact, self.rule.keys).attestations]
            Evidence(self.artifact, tuple(found), ()).require_signature(asked)
        except Untrusted as refusal:
            message = f"{refusal.message} (`{self.rule.pattern}` in the policy asks for it{self.reason})"
            if self.rule.mode is Mode.ENFORCE:
                raise Untrusted(message, where=refusal.where, hint=f"the rules are in {where}") from None
            tell(message)


def _judgements(policy: Policy, store: Store, reference: Reference, digest: Digest) -> list[_Judgement]:
    """The rules that apply: each once for the artifact, and once for each artifact that it was built from."""
    origins = Origins(store.home).read()
    judgements: list[_Judgement] = []
    for artifact in (digest, *sorted(bases_of(origins, [digest]) - {digest})):
        asked = [reference] if artifact == digest else []
        rules: dict[str, _Judgement] = {}
        for name in (*asked, *store.tags.names_of(artifact), *_former_names(origins.get(artifact, Origin()))):
            rule = policy.rule(name)
            if rule is not None and rule.mode is not Mode.OFF:
                whose = "" if artifact == digest else f" of its base {artifact.short}"
                reason = "" if name in asked else f", for the name `{name}`{whose}"
                rules.setdefault(rule.pattern, _Judgement(rule, artifact, reason))
        judgements += rules.values()
    return judgements


def _former_names(origin: Origin) -> Iterator[Reference]:
    for name in origin.names:
        with suppress(InvalidReference):  # a name written by another tool
            yield Reference.parse(name)


def _rule(written: Any, number: int, path: Path) -> Rule:
    where = f"{path}, rule {number}"
    if not isinstance(written, dict):
        raise InvalidPolicy("a rule has pattern, mode and keys", where=where)
    if unknown := written.keys() - _FIELDS:
        hint = f"a rule has {', '.join(sorted(_FIELDS))}"
        raise InvalidPolicy(f"`{sorted(map(str, unknown))[0]}` is unknown", where=where, hint=hint)
    pattern, keys = written.get("pattern"), written.get("keys", [])
    if not isinstance(pattern, str) or not pattern:
        raise InvalidPolicy("a rule needs a pattern", where=where)
    # YAML reads a bare `off` as false.
    mode = "off" if written.get("mode") is False else written.get("mode")
    if mode not in list(Mode):
        raise InvalidPolicy(f"`{mode}` is not a mode", where=where, hint=f"modes are {', '.join(Mode)}")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidPolicy("keys are a list of files or PEM texts", where=where)
    if mode != Mode.OFF and not keys:
        raise InvalidPolicy(f"a rule of mode {mode} needs keys", where=where)
    return Rule(pattern, Mode(mode), tuple(_key(key, path.parent, where) for key in keys))


def _key(written: str, folder: Path, where: str) -> PublicKey:
    from mlxbuild.registry.trust.keys import parse_public, read_public

    if "-----BEGIN" in written:
        return parse_public(written.encode(), where)
    return read_public(folder / Path(written).expanduser())
