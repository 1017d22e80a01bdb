"""`mlxbuild why`: shows why an action ran again, by comparing its last inputs with those before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import open_store, tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import did_you_mean, listed
from mlxbuild.toolchain.cache.history import History, NodeHistory
from mlxbuild.toolchain.cache.traces import TraceStore
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.steps import STEPS
from mlxbuild.toolchain.graph.contents import Contents
from mlxbuild.toolchain.graph.explain import ABSENT, differences
from mlxbuild.toolchain.graph.reasons import field, reasons

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_STEPS = tuple(STEPS)


class NeverBuilt(UserError):
    """No run of such an action is recorded."""

    code = "never-built"


@app.command(cls=Command, epilog=("mlxbuild why hello:int4\nmlxbuild why hello:int4 quantize/003"))
def why(
    name: Annotated[str, typer.Argument(help="An artifact as `name:variant`.")],
    step: Annotated[str, typer.Argument(help="A step such as `quantize`, or one action such as `quantize/003`.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which inputs changed since each action of an artifact ran with other inputs: old → new, causes first."""
    artifact, _, version = name.partition("@")
    prefix = f"{artifact}/{step}"
    with open_store() as store:
        names = ":" in artifact and ":" not in version  # a digest says nothing about a version
        if version and names and f"{artifact}-{version}" not in dict(store.tags.items()):
            tell(f"note: no tag names version {version} of {artifact}; these are the last two builds of any version")
        history, traces = History(store.home), TraceStore(store.home)
        labels = [label for label in history.labels(prefix) if label == prefix or label[len(prefix) - 1 :][:1] == "/"]
        labels = labels or [label for label in history.labels(prefix) if step]
        labels = labels or _of_all_variants(history, name, step)
        if not labels:
            raise _never_built(history, prefix.partition("/")[0], step)
        known = history.of(labels)
        compared = {label: _records(known[label], traces) for label in sorted(labels, key=_in_order_of_steps)}
        contents = Contents(store)
        if as_json:
            say_json({label: _document(records, contents) for label, records in compared.items()})
            return
        told = {label: tuple(_lines(records, contents)) for label, records in compared.items()}
    changed = {label: lines for label, lines in told.items() if lines}
    for label, lines in changed.items():
        say(label)
        for line in lines:
            say(f"  {line}")
    same = len(told) - len(changed)
    if same:
        say(f"{same} of {len(told)} actions have had the same inputs since they were first built")


def _of_all_variants(history: History, name: str, step: str) -> list[str]:
    """The actions of all variants of a `name` without variant."""
    if ":" in name:
        return []
    return [label for label in history.labels(f"{name}:") if not step or f"/{step}" in label]


def _in_order_of_steps(label: str) -> tuple[str, int, str]:
    """A sort key that puts an action after those whose outputs it reads."""
    artifact, _, action = label.partition("/")
    step = action.partition("/")[0]
    return artifact, _STEPS.index(step) if step in _STEPS else -1, label


def _never_built(history: History, artifact: str, step: str) -> NeverBuilt:
    """The error for an unknown artifact or step, with suggestions."""
    built = {name for name, _, _ in (label.partition("/") for label in history.labels("")) if ":" in name}
    if not any(name == artifact or name.startswith(f"{artifact}:") for name in built):
        near = did_you_mean(artifact, sorted(built))
        return NeverBuilt(f"`{artifact}` was never built here", hint=near or "`mlxbuild list` lists what was built")
    labels = [label for label in history.labels(artifact) if label[len(artifact)] in "/:"]
    actions = [label.partition("/")[2] for label in sorted(labels, key=_in_order_of_steps)]
    steps = list(dict.fromkeys(action.partition("/")[0] for action in actions))
    near = did_you_mean(step, [*steps, *actions])
    return NeverBuilt(f"`{artifact}` has no action `{step}`", hint=near or f"its steps are {listed(steps)}")


_Records = tuple[ActionRecord, ActionRecord] | str | None
"""Those of the last two different inputs, or why they cannot be compared; None if the inputs never changed."""


def _records(known: NodeHistory, traces: TraceStore) -> _Records:
    if known.previous is None:
        return None
    before, after = traces.find(known.previous), traces.find(known.key)
    return "gone from the cache" if before is None or after is None else (before.record, after.record)


def _lines(records: _Records, contents: Contents) -> Iterator[str]:
    if isinstance(records, str):
        yield f"trace: {records}"
    elif records is not None:
        for reason in reasons(*records, contents):
            yield from reason.lines()


def _document(records: _Records, contents: Contents) -> list[dict[str, object]] | None:
    """The differences as they stand in the records, each with the recipe's field and both values in full."""
    if records is None:
        return None
    if isinstance(records, str):
        return [{"path": "trace", "old": records, "new": None, "field": "trace", "old_value": None, "new_value": None}]
    return [
        {
            "path": change.path,
            "old": change.old,
            "new": change.new,
            "field": field(records[1], change),
            "old_value": _value(change.before, contents),
            "new_value": _value(change.after, contents),
        }
        for change in differences(*records)
    ]


def _value(value: object, contents: Contents) -> object:
    """A value in full; the text itself where a digest of one stands."""
    text = contents.text(value)
    return text if text is not None else None if value is ABSENT else value
