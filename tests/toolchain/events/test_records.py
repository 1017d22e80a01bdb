"""Events as JSON lines: written, held to their schema, and read back in another process."""

from __future__ import annotations

import io
import json
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mlxbuild.toolchain.events import schema
from mlxbuild.toolchain.events.model import ActionProgress, Event, Failed, Noted
from mlxbuild.toolchain.events.reading import event_of
from mlxbuild.toolchain.events.records import JsonLines, line_of, record_of
from tests.toolchain.events.test_event_sinks import BUILD, play

EVENTS = st.one_of([st.from_type(kind) for kind in get_args(Event)]).filter(
    lambda event: math.isfinite(getattr(event, "seconds", 0))
)


def test_the_committed_schema_is_the_generated_one() -> None:
    Draft202012Validator.check_schema(schema.generate())
    assert schema.PATH.read_text(encoding="utf-8") == schema.text()


@given(EVENTS, st.floats(0, 1e6))
def test_every_event_fits_the_schema_and_is_read_back_as_it_was(event: Event, at: float) -> None:
    record = record_of(event, at)
    Draft202012Validator(schema.generate()).validate(json.loads(line_of(record)))
    assert event_of(line_of(record)) == event


def test_lines_are_ascii_and_tell_the_whole_build() -> None:
    out = io.StringIO()
    play(JsonLines(out))
    assert out.getvalue().isascii()
    told = [event_of(line) for line in out.getvalue().splitlines()]
    assert told == [event for event in BUILD if not isinstance(event, ActionProgress)]


def test_half_of_a_surrogate_pair_does_not_end_the_lines() -> None:
    out = io.StringIO()
    JsonLines(out).handle(Failed("broken", "user", "half \ud800", None, None))
    assert event_of(out.getvalue()) == Failed("broken", "user", "half ?", None, None)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "interrupted",
        "[1]",
        "{",
        '{"a":' * 100_000,
        '{"event": "Noted", "message": "of no version"}',
        '{"version": 2, "event": "Noted", "message": "of a later version"}',
        '{"version": 1, "event": "Slept", "seconds": 3}',
        '{"version": 1, "event": ["Noted"], "message": "of no kind"}',
        '{"version": 1, "event": "Noted"}',
    ],
)
def test_what_is_no_known_event_is_left_out(line: str) -> None:
    assert event_of(line) is None


def test_fields_that_came_later_are_left_out() -> None:
    assert event_of('{"version": 1, "at": 0, "event": "Noted", "message": "x", "colour": "red"}') == Noted("x")
