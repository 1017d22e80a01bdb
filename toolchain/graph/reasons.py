"""Tells why an action runs again in the words of the recipe: fields with their old and new values, and texts as diffs.

The differences themselves come from `toolchain.graph.explain`; what follows from another action that came out
differently is told in one line for that action.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.graph.contents import Contents
from mlxbuild.toolchain.graph.explain import ABSENT, Change, differences, walk
from mlxbuild.toolchain.graph.fields import field_of
from mlxbuild.toolchain.graph.tensor_reasons import is_tensor, tensor_reasons
from mlxbuild.toolchain.lock.file import decode

_LONG = 60
_MOST_LINES = 60


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause, or one consequence of another action."""

    field: str
    told: str
    """What happened to it, in short: `4 → 8`, or for a text `1 line removed, 2 added`."""
    diff: tuple[str, ...] = ()
    """For a text, the lines of a unified diff."""

    def __str__(self) -> str:
        return f"{self.field}: {self.told}"

    def lines(self) -> Iterator[str]:
        """The reason with its whole diff."""
        yield str(self)
        yield from (f"  {line}" for line in self.diff[:_MOST_LINES])
        if len(self.diff) > _MOST_LINES:
            yield f"  … {len(self.diff) - _MOST_LINES} more lines"


def reasons(old: ActionRecord, new: ActionRecord, contents: Contents) -> tuple[Reason, ...]:
    """All reasons why the keys of two records differ, causes first, each told once."""
    changes = differences(old, new)
    once: dict[object, Reason] = {}
    for reason in (*_of_parameters(old, new, changes), *_of_inputs(old, new, changes, contents)):
        once.setdefault(reason.diff or (reason.field, reason.told), reason)
    return tuple(once.values())


def summarise(found: Sequence[Reason], limit: int = 2) -> str:
    """One line for a plan: the first reasons, and how many more there are."""
    shown = "; ".join(str(reason) for reason in found[:limit])
    more = len(found) - limit
    return f"{shown}; and {more} more" if more > 0 else shown


def field(record: ActionRecord, change: Change) -> str:
    """The field of a change as the recipe names it, or where in the record it stands."""
    first, *keys = change.keys
    if first == "parameters" and keys:
        return field_of(record.step, keys, str(record.parameters.get("name", "")))
    return change.path.removeprefix("inputs.").removeprefix("tools.")


def _of_parameters(old: ActionRecord, new: ActionRecord, changes: Iterable[Change]) -> Iterator[Reason]:
    tensors = []
    for change in changes:
        match change.keys:
            case ("inputs", *_):
                continue
            case ("parameters", "title"):
                continue  # it follows from name, variant and version
            case ("parameters", *keys) if is_tensor(keys):
                tensors.append(change)
            case ("parameters", "template", *_):
                before, after = (_template(record.parameters["template"]) for record in (old, new))
                yield _told("prompt_template", before, after)
            case ("step", "implementation"):
                yield Reason(f"mlxbuild's own step `{new.step}`", f"version {change.before} → {change.after}")
            case _:
                yield _told(field(new, change), change.before, change.after)
    yield from (Reason(*told) for told in tensor_reasons(tensors))


def _of_inputs(old: ActionRecord, new: ActionRecord, changes: Iterable[Change], contents: Contents) -> Iterator[Reason]:
    outputs: dict[str, list[str]] = {}
    for change in changes:
        match change.keys:
            case ("inputs", "spec") if new.step == "pack":
                yield from _of_recipe(change, contents)
            case ("inputs", "lock") if new.step == "pack":
                yield from _of_lock(change, contents)
            case ("inputs", str(name)):
                yield _of_file(name.removeprefix("license."), change.before, change.after, contents)
            case ("inputs", str(name), *rest):
                outputs.setdefault(name, []).append(str(rest[0]))
    blocks = [name for name in outputs if name.startswith("block.")]
    if blocks:
        yield Reason(_some([name.removeprefix("block.") for name in blocks], "block"), "came out differently")
    for name, changed in outputs.items():
        if name in blocks:
            continue
        before, after = old.inputs.get(name, {}), new.inputs.get(name, {})
        if "manifest" in changed:
            yield _told("artifact", before.get("manifest", ABSENT), after.get("manifest", ABSENT))
        elif "chat_template" in changed:
            one, other = (made.get("chat_template", ABSENT) for made in (before, after))
            yield _of_file("chat_template.jinja", one, other, contents)
        else:
            yield Reason(name, f"came out differently: {_named(changed)}")


def _of_recipe(change: Change, contents: Contents) -> Iterator[Reason]:
    """What changed in the recipe that the artifact carries."""
    before, after = (contents.text(value) for value in (change.before, change.after))
    if before is None or after is None:
        yield _told("recipe", change.before, change.after)
        return
    for each in walk((), json.loads(before), json.loads(after)):
        if each.keys[0] == "prompt_template":
            one, other = (_template(json.loads(text)["prompt_template"]) for text in (before, after))
            yield _told("prompt_template", one, other)
        else:
            yield _told(field_of("spec", each.keys), each.before, each.after)


def _of_lock(change: Change, contents: Contents) -> Iterator[Reason]:
    """What changed in the files of the locked sources."""
    texts = [contents.text(value) for value in (change.before, change.after)]
    if None in texts:
        yield _told("lock", change.before, change.after)
        return
    before, after = (_files(text or "") for text in texts)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield _of_file(name, before.get(name, ABSENT), after.get(name, ABSENT), contents)


def _files(lock: str) -> Mapping[str, str]:
    """Path of a file to its digest; files of other sources than the base bear the source's role."""
    return {
        file.path if source.role == "base" else f"{file.path} ({source.role})": str(file.blob.digest)
        for source in decode(lock.encode(), "the lock").sources
        for file in source.files
    }


def _of_file(name: str, old: Any, new: Any, contents: Contents) -> Reason:
    before, after = contents.text(old), contents.text(new)
    if before is None or after is None:
        return _told(name, old, new)
    return _told(name, before, after)


def _told(name: str, old: Any, new: Any) -> Reason:
    """A change of a value, or of a text."""
    if isinstance(old, str) and isinstance(new, str) and (_is_text(old) or _is_text(new)):
        return _of_text(name, old, new)
    if old is ABSENT:
        return Reason(name, f"added {_shown(new)}")
    if new is ABSENT:
        return Reason(name, f"removed {_shown(old)}")
    return Reason(name, f"{_shown(old)} → {_shown(new)}")


def _is_text(value: str) -> bool:
    """Whether a value is told better by a diff than in one line."""
    return not value.startswith("sha256:") and ("\n" in value or len(value) > _LONG)


def _of_text(name: str, old: str, new: str) -> Reason:
    from difflib import unified_diff  # only those who changed a text pay for it

    lines = tuple(unified_diff(old.splitlines(), new.splitlines(), lineterm=""))[2:]
    removed, added = (sum(line.startswith(sign) for line in lines) for sign in "-+")
    if not lines:
        return Reason(name, "other ends of lines")
    return Reason(name, f"{_counted(removed, 'line')} removed, {added} added", lines)


def _template(template: Mapping[str, str]) -> str:
    return template["kind"] if template["kind"] == "inherit" else template["value"]


def _shown(value: Any) -> str:
    text = str(value)
    if text.startswith(("sha256:", "blake3:")):
        return text[:19]
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]  # the row of an override has one value
    text = _flow(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _flow(value: Any) -> str:
    """A value as a recipe writes it in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return repr(value)


def _some(names: Sequence[str], what: str) -> str:
    if len(names) == 1:
        return f"{what} {names[0]}"
    return f"{what}s {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
