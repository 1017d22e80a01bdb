"""Small real steps for tests of executors and schedulers: they write blobs, wait, fail, crash and count themselves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import StepError
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.core.steps import StepKind


class JoinStep:
    """Writes its text and the contents of its inputs; notes every run in a file."""

    kind, implementation, tools = "join", 1, ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        parts = [str(record.parameters.get("text", ""))]
        for name in sorted(record.inputs):
            value = record.inputs[name]
            digests = [value] if isinstance(value, str) else [value[key] for key in sorted(value)]
            parts += [context.store.read(Digest.parse(digest)).decode() for digest in digests]
        if counter := record.parameters.get("counter"):
            with Path(counter).open("a") as file:
                file.write(f"{record.parameters.get('text', '')}\n")
        context.progress(len(parts))
        return {"out": context.store.put("".join(parts).encode())}


class ConstantStep:
    """Gives the same bytes whatever its parameters are."""

    kind, implementation, tools = "constant", 1, ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        return {"out": context.store.put(b"always the same")}


class RandomStep:
    """Not deterministic."""

    kind, implementation, tools = "random", 1, ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        return {"out": context.store.put(os.urandom(8))}


class FailStep:
    """Fails as a step should."""

    kind, implementation, tools = "fail", 1, ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        raise StepError("it does not work", hint="do otherwise")


class BugStep:
    """Fails as no step should."""

    kind, implementation, tools = "bug", 1, ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        raise ZeroDivisionError("nobody thought of this")


class WaitStep:
    """Works until it is stopped, or for the seconds it is told; writes its process id first."""

    kind, implementation, tools = "wait", 1, ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        if place := record.parameters.get("pid_file"):
            Path(place).write_text(str(os.getpid()))
        until = time.monotonic() + float(record.parameters.get("seconds", 60))
        while time.monotonic() < until:
            context.checkpoint()
            time.sleep(0.01)
        return {"out": context.store.put(b"waited")}


class CrashStep:
    """Kills its process, the first time."""

    kind, implementation, tools = "crash", 1, ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


STEPS = {
    step.kind: StepKind(step.kind, 1, (), f"{__name__}:{step.__name__}")
    for step in (JoinStep, ConstantStep, RandomStep, FailStep, BugStep, WaitStep, CrashStep)
}
