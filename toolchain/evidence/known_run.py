"""Finds the run that built an artifact, if this home still has its report: time, machine and actions."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.cache.traces import Trace, TraceStore
from mlxbuild.toolchain.events.journal import read_report, runs

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run, and the actions behind one of its artifacts."""

    name: str
    started: str
    """Start time as RFC 3339, in UTC."""
    finished: str
    built_by: Mapping[str, str]
    """Versions of mlxbuild and Python, operating system and machine architecture."""
    traces: tuple[Trace, ...]
    """Traces of the artifact's actions that are still stored. Gates that this run skipped are those of another run."""


def find_run(home: Home, artifact: Digest) -> KnownRun | None:
    """The newest run that packed an artifact, else the oldest in which it was a cache hit.

    A run without a report, because it was removed or the run was interrupted, is ignored.
    """
    mentions = [report for folder in runs(home) if (report := read_report(folder)) and _label(report, artifact)]
    if not mentions:
        return None
    chosen = next((report for report in mentions if _packed(report, artifact)), mentions[-1])
    return _known(home, chosen, mentions, artifact)


def _label(report: Mapping[str, Any], artifact: Digest) -> str | None:
    """The artifact's `name:variant` in a run, the prefix of its action labels; None if it is not there."""
    built = (each for each in report.get("artifacts", ()) if each.get("digest") == str(artifact))
    return next((str(each["label"]).partition("@")[0] for each in built), None)


def _packed(report: Mapping[str, Any], artifact: Digest) -> bool:
    label = f"{_label(report, artifact)}/pack"
    return any(action["label"] == label and action["outcome"] == "ran" for action in report.get("actions", ()))


def _known(home: Home, report: Mapping[str, Any], mentions: Sequence[Mapping[str, Any]], artifact: Digest) -> KnownRun:
    traces = dict(_traces(home, report, artifact))
    for other in mentions:
        for action, trace in _traces(home, other, artifact):
            if trace.record.step == "gate":  # skipped in the chosen run if another variant of it failed
                traces.setdefault(action, trace)
    started = str(report["started"])
    seconds = calendar.timegm(time.strptime(started, _TIME)) + float(report.get("seconds", 0))
    return KnownRun(
        name=str(report["run"]),
        started=started,
        finished=time.strftime(_TIME, time.gmtime(seconds)),
        built_by={str(name): str(value) for name, value in report.get("built_by", {}).items()},
        traces=tuple(traces.values()),
    )


def _traces(home: Home, report: Mapping[str, Any], artifact: Digest) -> Iterator[tuple[str, Trace]]:
    """The traces of the artifact's actions in a run, each with the action's name within the artifact."""
    store = TraceStore(home)
    prefix = f"{_label(report, artifact)}/"
    for action in report.get("actions", ()):
        key = action.get("key")
        if key is None or not action["label"].startswith(prefix):
            continue
        try:
            trace = store.find(Digest.parse(key))
        except InvalidDigest:
            continue
        if trace is not None:
            yield action["label"].removeprefix(prefix), trace
