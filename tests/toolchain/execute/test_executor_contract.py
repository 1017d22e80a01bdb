"""The contract of the executor port, held against every executor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.cache.traces import TraceStore
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.action_key import action_key
from mlxbuild.toolchain.execute.inline import InlineExecutor
from mlxbuild.toolchain.execute.perform import ExecutionContext, UnexpectedFailure
from mlxbuild.toolchain.execute.port import (
    ActionEvent,
    ActionRequest,
    Begun,
    Executor,
    FailedAction,
    Finished,
    Progressed,
    WorkerLost,
)
from mlxbuild.toolchain.execute.process import ProcessExecutor
from tests.processes import children, has_ended
from tests.toolchain.execute import practice_steps

STEPS = practice_steps.STEPS


def make(name: str, store: Store, jobs: int = 2) -> Executor:
    context = replace(ExecutionContext.of(store), steps=STEPS)
    if name == "inline":
        return InlineExecutor(context, jobs)
    return ProcessExecutor(context, jobs, steps=f"{practice_steps.__name__}:STEPS")


@pytest.fixture(params=["inline", "process"])
def executor(request: pytest.FixtureRequest, store: Store) -> Iterator[Executor]:
    made = make(request.param, store)
    yield made
    made.close(cancel=True)


def request(step: str, label: str = "", **parameters: Any) -> ActionRequest:
    record = ActionRecord(step, 1, parameters, {})
    return ActionRequest(label or f"test/{step}", action_key(record), record, {})


def outcomes(executor: Executor, *requests: ActionRequest) -> list[ActionEvent]:
    """Run requests to their last events, and return all events."""
    events: SimpleQueue[ActionEvent] = SimpleQueue()
    executor.start(events)
    for each in requests:
        executor.submit(each)
    seen: list[ActionEvent] = []
    open_labels = {each.label for each in requests}
    while open_labels:
        event = events.get(timeout=60)
        seen.append(event)
        if isinstance(event, Finished | FailedAction):
            open_labels.discard(event.label)
    return seen


def last(executor: Executor, one: ActionRequest) -> ActionEvent:
    return outcomes(executor, one)[-1]


def test_it_runs_an_action_and_keeps_outputs_and_trace(executor: Executor, store: Store) -> None:
    asked = request("join", text="hello")
    begun, progressed, finished = outcomes(executor, asked)
    assert isinstance(begun, Begun)
    assert progressed == Progressed(asked.label, 1)
    assert isinstance(finished, Finished)
    assert store.read(finished.outputs["out"].digest) == b"hello"
    trace = TraceStore(store.home).find(asked.key)
    assert trace is not None
    assert trace.outputs == finished.outputs


def test_every_executor_gives_the_same_digests(store: Store) -> None:
    digests = set()
    for name in ("inline", "process"):
        made = make(name, store)
        finished = last(made, request("join", text=f"same{0}"))
        made.close(cancel=False)
        assert isinstance(finished, Finished)
        digests.add(finished.outputs["out"])
    assert len(digests) == 1


def test_what_another_process_finished_meanwhile_is_a_hit(executor: Executor) -> None:
    asked = request("join", text="once")
    first, second = last(executor, asked), last(executor, asked)
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (first.was_hit, second.was_hit) == (False, True)


def test_a_failed_step_is_reported_with_its_place_and_hint(executor: Executor) -> None:
    failed = last(executor, request("fail", label="hello:int4/fail"))
    assert isinstance(failed, FailedAction)
    assert failed.error.message == "it does not work"
    assert failed.error.where == "hello:int4/fail"
    assert failed.error.hint == "do otherwise"


def test_a_bug_in_a_step_is_reported_as_one(executor: Executor) -> None:
    failed = last(executor, request("bug"))
    assert isinstance(failed, FailedAction)
    assert isinstance(failed.error, UnexpectedFailure)
    assert "ZeroDivisionError: nobody thought of this" in failed.error.message


def test_many_actions_at_once_all_finish(executor: Executor) -> None:
    asked = [request("join", label=f"n{number}", text=str(number)) for number in range(40)]
    finished = [event for event in outcomes(executor, *asked) if isinstance(event, Finished)]
    assert {event.label for event in finished} == {each.label for each in asked}


def test_cancelling_stops_what_runs_and_leaves_no_child(executor: Executor, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    events: SimpleQueue[ActionEvent] = SimpleQueue()
    executor.start(events)
    executor.submit(request("wait", pid_file=str(pid_file)))
    _wait_for(lambda: pid_file.exists() and pid_file.read_text() != "")
    executor.close(cancel=True)
    pid = int(pid_file.read_text())
    if executor.name == "process":
        assert has_ended(pid)
    assert children("mlxbuild.toolchain.execute.worker") == []


def test_a_killed_worker_is_reported_and_others_go_on(store: Store) -> None:
    executor = make("process", store)
    crashed = last(executor, request("crash"))
    assert isinstance(crashed, FailedAction)
    assert isinstance(crashed.error, WorkerLost)
    assert "signal 9" in crashed.error.message
    assert isinstance(last(executor, request("join", text="after")), Finished)
    executor.close(cancel=False)


def _wait_for(condition: Any) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)
