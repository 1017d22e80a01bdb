"""The schedule over random graphs: nothing runs early, twice or for nothing, and every action gets an outcome."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlxbuild.toolchain.execute.schedule import Ended, Schedule

Graph = tuple[Mapping[str, list[str]], Mapping[str, list[str]]]
"""What each action needs, and the files that it reads."""
_GOOD = {"hit", "ran", "shared"}


@st.composite
def some_of(draw: st.DrawFn, labels: list[str]) -> list[str]:
    return [label for label in labels if draw(st.booleans())]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    actions = [f"a{number}" for number in range(draw(st.integers(1, 9)))]
    needs = {label: draw(some_of(actions[:number])) for number, label in enumerate(actions)}
    return needs, {label: draw(some_of(["f0", "f1", "f2"])) for label in actions}


class Build(RuleBasedStateMachine):
    """Does what a schedule says in any order, with any result."""

    @initialize(graph=graphs(), keep_going=st.booleans(), limit=st.integers(1, 2))
    def begin(self, graph: Graph, keep_going: bool, limit: int) -> None:
        self.needs, self.files = graph
        self.keep_going, self.limit = keep_going, limit
        self.schedule = Schedule(self.needs, self.files, keep_going=keep_going)
        self.ended: dict[str, Ended] = {}
        self.keys: dict[str, int] = {}
        self.had_outputs: set[str] = set()
        self.fetched: set[str] = set()
        self.looking_up: list[str] = []
        self.fetching: list[str] = []
        self.running: list[str] = []
        self.repeated: set[str] = set()
        self.has_stopped = False

    @precondition(lambda self: self.schedule.is_done)
    @rule(graph=graphs(), keep_going=st.booleans())
    def begin_another(self, graph: Graph, keep_going: bool) -> None:
        self.begin(graph, keep_going, limit=1)

    def take(self) -> None:
        resolved, fetches = self.schedule.take_resolved(), self.schedule.take_fetches()
        ready = self.schedule.take_ready(self.limit)
        for label in resolved:
            assert label not in self.ended
            assert self.had_outputs.issuperset(self.needs[label])
        for label in fetches:
            assert label not in self.fetched, "a file is fetched once"
            self.fetched.add(label)
        for label in ready:
            assert all(self.ended[file].outcome != "failed" for file in self.files[label])
        self.looking_up += resolved
        self.fetching += fetches
        self.running += ready
        assert len(self.running) <= self.limit
        keys = [self.keys[label] for label in self.running]
        assert len(set(keys)) == len(keys), "two actions with one key never run at once"
        assert not (self.has_stopped and (fetches or ready)), "nothing begins after it stopped"

    def note(self, ended: list[Ended]) -> None:
        for each in ended:
            assert each.label not in self.ended, "an outcome is final"
            self.ended[each.label] = each
            if each.outcome in _GOOD:
                self.had_outputs.add(each.label)
        for each in ended:
            if each.reason.startswith("needs "):
                cause = each.reason.removeprefix("needs ")
                assert self.ended[cause].outcome in ("failed", "skipped")
            elif each.outcome == "skipped":
                assert self.has_stopped

    @precondition(lambda self: self.looking_up)
    @rule(data=st.data(), key=st.integers(0, 3), is_hit=st.booleans())
    def look_up(self, data: st.DataObject, key: int, is_hit: bool) -> None:
        label = self.pick(data, self.looking_up)
        if is_hit:
            self.note(self.schedule.succeeded(label, "hit"))
        else:
            self.keys[label] = key
            self.note(self.schedule.missed(label, key))

    @precondition(lambda self: self.fetching)
    @rule(data=st.data(), works=st.booleans())
    def fetch(self, data: st.DataObject, works: bool) -> None:
        label = self.pick(data, self.fetching)
        if works:
            self.note(self.schedule.succeeded(label, "ran"))
        else:
            self.fail(label)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), works=st.booleans())
    def run(self, data: st.DataObject, works: bool) -> None:
        label = self.pick(data, self.running)
        if works:
            self.note(self.schedule.succeeded(label, "ran"))
        else:
            self.fail(label)

    @precondition(lambda self: any(self.may_repeat(label) for label in self.running))
    @rule(data=st.data())
    def find_damage(self, data: st.DataObject) -> None:
        label = data.draw(st.sampled_from([label for label in self.running if self.may_repeat(label)]))
        others = self.ancestors(label)
        producers = data.draw(some_of(others)) or others[:1]
        self.running.remove(label)
        assert self.schedule.may_repeat(label)
        self.repeated.add(label)
        keys = {producer: self.keys.setdefault(producer, len(self.keys) + 4) for producer in producers}
        for producer in producers:
            self.ended.pop(producer, None)
        self.note(self.schedule.repeat(label, keys))

    def may_repeat(self, label: str) -> bool:
        return label not in self.repeated and bool(self.needs[label])

    def ancestors(self, label: str) -> list[str]:
        found: dict[str, None] = {}
        for other in self.needs[label]:
            found |= dict.fromkeys([other, *self.ancestors(other)])
        return list(found)

    def fail(self, label: str) -> None:
        self.has_stopped = self.has_stopped or not self.keep_going
        self.note(self.schedule.failed(label))

    def pick(self, data: st.DataObject, labels: list[str]) -> str:
        label = data.draw(st.sampled_from(labels))
        labels.remove(label)
        return label

    @invariant()
    def something_is_always_going_on(self) -> None:
        self.take()
        assert self.schedule.outcomes == {label: ended.outcome for label, ended in self.ended.items()}
        assert self.schedule.is_done == (not (self.looking_up or self.fetching or self.running))

    @invariant()
    def when_done_every_action_has_an_outcome(self) -> None:
        if not self.schedule.is_done:
            return
        assert self.needs.keys() <= self.ended.keys()
        if all(ended.outcome != "failed" for ended in self.ended.values()) and not self.has_stopped:
            assert all(ended.outcome != "skipped" for ended in self.ended.values())

    def teardown(self) -> None:
        """Whatever happened, a build that meets no more trouble comes to its end."""
        if not hasattr(self, "schedule"):
            return
        while not self.schedule.is_done:
            for label in self.looking_up:
                self.note(self.schedule.succeeded(label, "hit"))
            for label in [*self.fetching, *self.running]:
                self.note(self.schedule.succeeded(label, "ran"))
            self.looking_up, self.fetching, self.running = [], [], []
            self.something_is_always_going_on()
        self.when_done_every_action_has_an_outcome()


Build.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],  # few rules fit at a time
)
TestBuild = Build.TestCase


@pytest.mark.parametrize("first", ["far", "other"])
def test_actions_that_share_a_key_never_wait_for_each_other_in_a_circle(first: str) -> None:
    """`near` and `far` have one key, and `far` needs `near`, by way of `between`; then outputs of both are damaged."""
    schedule = Schedule({"near": [], "between": ["near"], "far": ["between"], "other": ["near"]}, {})
    keys = {"near": 1, "between": 2, "far": 1, "other": 3}

    def start(*labels: str) -> None:
        assert sorted(schedule.take_resolved()) == sorted(labels)
        for label in labels:
            schedule.missed(label, keys[label])

    start("near")
    assert schedule.take_ready(9) == ["near"]
    schedule.succeeded("near", "ran")
    start("between", "other")
    assert schedule.take_ready(9) == ["between", "other"]
    schedule.succeeded("between", "ran")
    start("far")
    assert schedule.take_ready(9) == ["far"]
    needs = {"far": "between", "other": "near"}
    for label in (first, *(needs.keys() - {first})):
        schedule.repeat(label, {needs[label]: keys[needs[label]]})
    running = schedule.take_ready(9)
    assert "between" in running
    schedule.repeat("between", {"near": 1})
    running.remove("between")
    while not schedule.is_done:
        for label in running:
            schedule.succeeded(label, "ran")
        for label in schedule.take_resolved():
            schedule.missed(label, keys[label])
        running = schedule.take_ready(9)
        assert running or schedule.is_done
