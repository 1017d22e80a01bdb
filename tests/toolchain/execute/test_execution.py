"""Executions over real stores and executors: cutoff, sharing, failures, repair, order, concurrency."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.cache.action_cache import ActionCache
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.core.action import Node, OutputsOf
from mlxbuild.toolchain.events.model import Event, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.execution import Execution, ExecutionOptions, RunResult
from mlxbuild.toolchain.execute.inline import InlineExecutor
from mlxbuild.toolchain.execute.perform import ExecutionContext
from mlxbuild.toolchain.graph.graph import BrokenGraph, assemble
from mlxbuild.toolchain.graph.plan import Plan, Status, make_plan
from tests.toolchain.execute.practice_steps import STEPS


class Events:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    def handle(self, event: Event) -> None:
        self.seen.append(event)

    def close(self) -> None:
        pass


def node(label: str, step: str = "join", needs: tuple[str, ...] = (), **parameters: Any) -> Node:
    return Node(label, step, parameters, {name: OutputsOf(name) for name in needs})


def run(
    store: Store, *nodes: Node, events: Events | None = None, seed: int | None = None, keep_going: bool = False
) -> RunResult:
    source = random.Random(seed)
    return Execution(
        assemble(nodes, {}),
        ActionCache(store, steps=STEPS),
        InlineExecutor(replace(ExecutionContext.of(store), steps=STEPS), jobs=2),
        EventStream([events] if events else []),
        ExecutionOptions(keep_going, list if seed is None else lambda labels: source.sample(labels, len(labels))),
    ).run()


def plan(store: Store, *nodes: Node) -> Plan:
    return make_plan(assemble(nodes, {}), ActionCache(store, steps=STEPS))


def text(store: Store, result: RunResult, label: str) -> str:
    return store.read(result.outputs[label]["out"].digest).decode()


def test_outputs_flow_along_the_graph(store: Store) -> None:
    result = run(store, node("c", needs=("a", "b"), text="c"), node("a", text="a"), node("b", needs=("a",), text="b"))
    assert text(store, result, "c") == "caba"
    assert result.count() == {"ran": 3}


def test_a_second_run_only_looks_up(store: Store) -> None:
    nodes = (node("a", text="a"), node("b", needs=("a",), text="b"))
    run(store, *nodes)
    assert run(store, *nodes).count() == {"hit": 2}
    assert plan(store, *nodes).is_done


def test_equal_outputs_stop_a_rebuild_early(store: Store) -> None:
    run(store, node("a", "constant", flavour=1), node("b", needs=("a",), text="b"))
    again = (node("a", "constant", flavour=2), node("b", needs=("a",), text="b"))
    statuses = {action.label: action.status for action in plan(store, *again).actions}
    assert statuses == {"a": Status.RUN, "b": Status.UNKNOWN}
    assert run(store, *again).outcomes == {"a": "ran", "b": "hit"}


def test_the_plan_says_which_parameter_changed(store: Store) -> None:
    run(store, node("a", text="old"))
    (action,) = plan(store, node("a", text="new")).actions
    assert action.reason == "text: 'old' → 'new'"


def test_actions_with_one_key_run_once(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    twins = [node(f"n{number}", text="same", counter=str(counter)) for number in range(5)]
    result = run(store, *twins)
    assert result.count() == {"ran": 1, "shared": 4}
    assert counter.read_text().splitlines() == ["same"]


def test_a_failure_skips_what_needs_it(store: Store) -> None:
    nodes = (node("bad", "fail"), node("after", needs=("bad",)), node("far", needs=("after",)))
    result = run(store, *nodes, keep_going=True)
    assert result.outcomes == {"bad": "failed", "after": "skipped", "far": "skipped"}
    assert str(result.errors["bad"]) == "it does not work"


def test_keep_going_finishes_what_a_failure_spares(store: Store) -> None:
    nodes = (node("bad", "fail"), node("a", text="a"), node("b", needs=("a",), text="b"))
    assert run(store, *nodes, keep_going=True).outcomes == {"bad": "failed", "a": "ran", "b": "ran"}


def test_without_keep_going_nothing_new_begins(store: Store) -> None:
    chain = [node("0", "fail"), *(node(str(n), needs=(str(n - 1),)) for n in range(1, 30))]
    others = [node("x0", text="x"), *(node(f"x{n}", needs=(f"x{n - 1}",), text=str(n)) for n in range(1, 200))]
    result = run(store, *chain, *others)
    assert result.outcomes["x199"] == "skipped"
    assert set(result.outcomes) == {each.label for each in (*chain, *others)}


def test_an_evicted_output_is_made_again(store: Store) -> None:
    nodes = (node("a", text="a"), node("b", needs=("a",), text="b"))
    first = run(store, *nodes)
    store.remove(first.outputs["a"]["out"].digest)
    planned = {action.label: action.reason for action in plan(store, *nodes).actions}
    assert planned["a"] == "its outputs are gone from the store or were damaged"
    again = run(store, *nodes)
    assert again.outcomes == {"a": "ran", "b": "hit"}
    assert again.outputs == first.outputs


def test_a_damaged_output_is_set_aside_and_made_again(store: Store) -> None:
    nodes = (node("a", text="a"), node("b", needs=("a",), text="b"))
    digest = run(store, *nodes).outputs["a"]["out"].digest
    _damage(store, digest)
    assert run(store, *nodes).outcomes == {"a": "ran", "b": "hit"}
    assert store.read(digest) == b"a"


def test_damage_found_by_a_consumer_sends_the_producer_back_to_work(store: Store) -> None:
    a, b = node("a", text="a"), node("b", needs=("a",), text="b")
    digest = run(store, a).outputs["a"]["out"].digest
    path = store.path(digest)
    status = path.stat()
    _damage(store, digest)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # bit rot leaves no trace in the file's times
    events = Events()
    result = run(store, a, b, events=events)
    assert text(store, result, "b") == "ba"
    assert any(isinstance(event, Warned) and "damaged" in event.message for event in events.seen)


def test_two_consumers_that_find_one_damage_both_get_what_they_need(store: Store) -> None:
    a = node("a", text="a")
    consumers = [node(f"b{number}", needs=("a",), text=str(number)) for number in range(8)]
    digest = run(store, a).outputs["a"]["out"].digest
    path = store.path(digest)
    status = path.stat()
    _damage(store, digest)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = run(store, a, *consumers)
    assert [text(store, result, f"b{number}") for number in range(8)] == [f"{number}a" for number in range(8)]


def test_results_that_differ_are_reported_and_the_first_is_kept(store: Store) -> None:
    wild = node("a", "random")
    first = run(store, wild)
    events = Events()
    again = Execution(
        assemble([wild], {}),
        ActionCache(store, steps=STEPS, refresh={"random"}),
        InlineExecutor(replace(ExecutionContext.of(store, frozenset({"random"})), steps=STEPS), jobs=1),
        EventStream([events]),
        ExecutionOptions(),
    ).run()
    assert again.outputs == first.outputs
    assert any(isinstance(event, Warned) and "other bytes" in event.message for event in events.seen)


def test_a_circle_is_named() -> None:
    with pytest.raises(BrokenGraph, match=r"a → b → a|b → a → b"):
        assemble([node("a", needs=("b",)), node("b", needs=("a",))], {})


def test_two_different_actions_of_one_name_are_refused() -> None:
    with pytest.raises(BrokenGraph, match="both called `a`"):
        assemble([node("a", text="1"), node("a", text="2")], {})


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 12))
    nodes = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        nodes.append(node(f"n{number}", needs=tuple(f"n{other}" for other in needs), text=draw(st.sampled_from("abc"))))
    return nodes


@given(nodes=graphs(), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_order_never_changes_what_comes_out(
    nodes: list[Node], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    straight = Store.open(Home(tmp_path_factory.mktemp("straight")))
    shuffled = Store.open(Home(tmp_path_factory.mktemp("shuffled")))
    first = run(straight, *nodes)
    second = run(shuffled, *random.Random(seed).sample(nodes, len(nodes)), seed=seed)
    assert first.outputs == second.outputs
    assert all(action.status is Status.HIT for action in plan(straight, *nodes).actions)
    assert _keys(straight) == _keys(shuffled)


def _keys(store: Store) -> Mapping[str, Digest]:
    return {label: known.key for label, known in History(store.home).of([f"n{n}" for n in range(12)]).items()}


def _damage(store: Store, digest: Digest) -> None:
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
