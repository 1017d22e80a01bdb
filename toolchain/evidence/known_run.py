"""The run that built an artifact, as far as this home still knows it: when, where, and by which actions."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.cache.traces import Trace, TraceStore
from mlxbuild.toolchain.events.journal import read_report, runs

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class KnownRun:
    """One run, and the actions behind one of its artifacts."""

    name: str
    started: str
    """RFC 3339, in UTC."""
    finished: str
    built_by: Mapping[str, str]
    """mlxbuild and Python by version, system and machine."""
    traces: tuple[Trace, ...]
    """Of the artifact's actions, those that are not forgotten."""


def find_run(home: Home, artifact: Digest) -> KnownRun | None:
    """The newest run that packed an artifact; the oldest that found it ready where none is known to have.

    A run whose report is gone, or was cut short, is not known.
    """
    mentions = [report for folder in runs(home) if (report := read_report(folder)) and _label(report, artifact)]
    if not mentions:
        return None
    chosen = next((report for report in mentions if _packed(report, artifact)), mentions[-1])
    return _known(home, chosen, artifact)


def _label(report: Mapping[str, Any], artifact: Digest) -> str | None:
    """`name:variant` of an artifact in a run: what the labels of its actions begin with."""
    built = (each for each in report.get("artifacts", ()) if each.get("digest") == str(artifact))
    return next((str(each["label"]).partition("@")[0] for each in built), None)


def _packed(report: Mapping[str, Any], artifact: Digest) -> bool:
    label = f"{_label(report, artifact)}/pack"
    return any(action["label"] == label and action["outcome"] == "ran" for action in report.get("actions", ()))


def _known(home: Home, report: Mapping[str, Any], artifact: Digest) -> KnownRun:
    started = str(report["started"])
    seconds = calendar.timegm(time.strptime(started, _TIME)) + float(report.get("seconds", 0))
    return KnownRun(
        name=str(report["run"]),
        started=started,
        finished=time.strftime(_TIME, time.gmtime(seconds)),
        built_by={str(name): str(value) for name, value in report.get("built_by", {}).items()},
        traces=tuple(_traces(home, report, artifact)),
    )


def _traces(home: Home, report: Mapping[str, Any], artifact: Digest) -> Iterator[Trace]:
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
            yield trace
