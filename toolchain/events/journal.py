"""Writes and reads the run log: `logs/runs/<id>/events.jsonl` and `report.json`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.core.installed import installed_version
from mlxbuild.toolchain.events.model import (
    ActionFinished,
    ActionProgress,
    ArtifactBuilt,
    Event,
    Failed,
    GateReported,
    RunFinished,
    RunStarted,
    Warned,
)
from mlxbuild.toolchain.events.records import ENVELOPE, line_of, record_of

_KEPT_RUNS = 200
_ESCAPED = "backslashreplace"
"""Lone surrogates become `\\ud800`, as in JSON."""


def new_run_name() -> str:
    """A unique name for a run that sorts by time."""
    now = time.time_ns()
    second = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
    return f"{second}.{now // 10**6 % 1000:03d}-{os.urandom(2).hex()}"


class Journal:
    """A sink that records a run as it happens and writes a report at the end."""

    def __init__(self, home: Home, run: str) -> None:
        self.folder = home.logs / "runs" / run
        self._runs = self.folder.parent
        self._file: TextIOWrapper | None = None
        self._started = time.time()
        self._report: dict[str, Any] = {
            "run": run,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "built_by": _builder(),
            "actions": [],
            "artifacts": [],
            "gates": [],
            "warnings": [],
            "errors": [],
        }

    def handle(self, event: Event) -> None:
        """Write the event, unless it is about progress, which is not recorded."""
        if isinstance(event, ActionProgress):
            return
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / "events.jsonl").open("w", encoding="utf-8", errors=_ESCAPED)
        record = record_of(event, time.time() - self._started)
        self._file.write(line_of(record))
        self._sum_up(event, {name: value for name, value in record.items() if name not in ENVELOPE})

    def _sum_up(self, event: Event, plain: dict[str, Any]) -> None:
        match event:
            case RunStarted():
                self._report["command"] = plain["command"]
            case ActionFinished():
                self._report["actions"].append(plain)
            case ArtifactBuilt():
                self._report["artifacts"].append(plain)
            case GateReported():
                self._report["gates"].append(plain)
            case Warned():
                self._report["warnings"].append(plain)
            case Failed():
                self._report["errors"].append(plain)
            case RunFinished():
                self._report |= plain

    def close(self) -> None:
        """Write the report, and remove the oldest runs."""
        if self._file is None:
            return
        self._file.close()
        text = json.dumps(self._report, indent=1, ensure_ascii=False)
        (self.folder / "report.json").write_text(text + "\n", encoding="utf-8", errors=_ESCAPED)
        for old in sorted(self._runs.iterdir())[:-_KEPT_RUNS]:
            shutil.rmtree(old, ignore_errors=True)


def _builder() -> dict[str, str]:
    """Program versions and machine type for the provenance; nothing identifies the machine or its user."""
    system = os.uname()
    python = ".".join(str(part) for part in sys.version_info[:3])
    program = installed_version("mlxbuild")
    return {"mlxbuild": program, "python": python, "system": system.sysname, "machine": system.machine}


def runs(home: Home) -> tuple[Path, ...]:
    """The folders of all recorded runs, newest first."""
    folder = home.logs / "runs"
    return tuple(sorted(folder.iterdir(), reverse=True)) if folder.is_dir() else ()


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a run, or None if the run was interrupted."""
    try:
        report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The recorded events of a run; a truncated last line is left out."""
    with (folder / "events.jsonl").open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                return
