"""`mlxbuild why`: shows why an action ran again, by comparing its last inputs with those before."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import open_store
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import did_you_mean, listed
from mlxbuild.toolchain.cache.history import History, NodeHistory
from mlxbuild.toolchain.cache.traces import TraceStore
from mlxbuild.toolchain.core.steps import STEPS
from mlxbuild.toolchain.graph.explain import Change, differences

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
    prefix = f"{name.split('@', 1)[0]}/{step}"
    with open_store() as store:
        history, traces = History(store.home), TraceStore(store.home)
        labels = [label for label in history.labels(prefix) if label == prefix or label[len(prefix) - 1 :][:1] == "/"]
        labels = labels or [label for label in history.labels(prefix) if step]
        labels = labels or _of_all_variants(history, name, step)
        if not labels:
            raise _never_built(history, prefix.partition("/")[0], step)
        known = history.of(labels)
        told = {label: explain(known[label], traces) for label in sorted(labels, key=_in_order_of_steps)}
    if as_json:
        say_json(
            {
                label: None if changes is None else [{"path": c.path, "old": c.old, "new": c.new} for c in changes]
                for label, changes in told.items()
            }
        )
        return
    changed = {label: changes for label, changes in told.items() if changes}
    for label, changes in changed.items():
        say(label)
        for change in changes:
            say(f"  {change}")
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


def explain(known: NodeHistory, traces: TraceStore) -> tuple[Change, ...] | None:
    """The changes between the last two different inputs; None if the inputs never changed."""
    if known.previous is None:
        return None
    before, after = traces.find(known.previous), traces.find(known.key)
    if before is None or after is None:
        return (Change("trace", "gone from the cache", None),)
    return differences(before.record, after.record)
