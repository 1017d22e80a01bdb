"""What people and programs see of a build: plain lines, annotations, the live display, and the run log."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.events.github import GithubAnnotations
from mlxbuild.toolchain.events.journal import Journal, new_run_name, read_events, read_report, runs
from mlxbuild.toolchain.events.model import (
    ActionFinished,
    ActionProgress,
    ActionStarted,
    ArtifactBuilt,
    Event,
    Failed,
    GateReported,
    RunFinished,
    RunStarted,
    Sink,
    Warned,
)
from mlxbuild.toolchain.events.plain import PlainLines
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.events.terminal import LiveDisplay

DIGEST = "sha256:" + "ab" * 32
BUILD: list[Event] = [
    RunStarted("r1", ("create",), ("hello:int4@1.0",), 3),
    ActionStarted("hello:int4/quantize/000", "never built", 6_190_000),
    ActionProgress("hello:int4/quantize/000", 6_190_000),
    ActionFinished("hello:int4/quantize/000", "ran", 0.25, "blake3:00", "never built", 6_190_000),
    ActionFinished("hello:int4/pack", "hit", 0.0, "blake3:01", "", 0),
    GateReported("hello:int4/gate/size", False, "412 MB is more than 400 MB"),
    Warned("the disk is nearly full", "home"),
    Failed("spec-value", "user", "bad value: 100%", "ModelSpec.yaml:8:15", "did you mean `int4`?"),
    ArtifactBuilt("hello:int4@1.0", DIGEST, 1_500_000, ("hello:int4",)),
    ArtifactBuilt("hello:int8@1.0", DIGEST, 2_500_000, (), untagged="gates did not run"),
    RunFinished(1.5, {"ran": 1, "hit": 1, "present": 1}, 2),
]


def play(sink: Sink) -> None:
    stream = EventStream([sink])
    for event in BUILD:
        stream.emit(event)
    stream.close()


def test_plain_lines_tell_the_whole_story() -> None:
    out = io.StringIO()
    play(PlainLines(out))
    assert out.getvalue() == (
        "building hello:int4@1.0 (3 actions)\n"
        "run   hello:int4/quantize/000  6.19 MB  (never built)\n"
        "ran   hello:int4/quantize/000  0.25 s  [1/3]\n"
        "FAIL  hello:int4/gate/size  412 MB is more than 400 MB\n"
        "warning: the disk is nearly full (home)\n"
        "error[spec-value]: bad value: 100%\n"
        "  --> ModelSpec.yaml:8:15\n"
        "hint: did you mean `int4`?\n"
        "built hello:int4@1.0  sha256:abababababab  1.5 MB\n"
        "built hello:int8@1.0  sha256:abababababab  2.5 MB  (gates did not run, no tag moved)\n"
        "1 cached, 1 ran, 1 read in place in 1.50 s\n"
    )


def test_github_gets_annotations_at_the_line() -> None:
    out = io.StringIO()
    play(GithubAnnotations(out))
    assert (
        "::error file=ModelSpec.yaml,line=8,col=15::spec-value: bad value: 100%25%0Ahint: did you mean `int4`?\n"
        in out.getvalue()
    )
    assert "::warning::the disk is nearly full%0A--> home\n" in out.getvalue()


def test_the_live_display_leaves_results_on_the_screen() -> None:
    out = io.StringIO()
    play(LiveDisplay(out))
    shown = out.getvalue()
    assert "● hello:int4@1.0  sha256:abababababab  1.5 MB" in shown
    assert "● hello:int8@1.0  sha256:abababababab  2.5 MB  (gates did not run, no tag moved)" in shown
    assert "error[spec-value]: bad value: 100%" in shown
    assert "✗ hello:int4/gate/size" in shown


def test_the_journal_can_be_read_back(home: Home) -> None:
    run = new_run_name()
    play(Journal(home, run))
    (folder,) = runs(home)
    report = read_report(folder)
    assert report is not None
    assert report["outcomes"] == {"ran": 1, "hit": 1, "present": 1}
    assert [action["label"] for action in report["actions"]] == ["hello:int4/quantize/000", "hello:int4/pack"]
    assert report["artifacts"][0]["digest"] == DIGEST
    names = [event["event"] for event in read_events(folder)]
    assert names[0] == "RunStarted"
    assert "ActionProgress" not in names


def test_text_that_is_no_unicode_stops_neither_journal_nor_report(home: Home) -> None:
    journal = Journal(home, "r1")
    journal.handle(Warned("half \ud800 of a pair"))
    journal.close()
    report = read_report(journal.folder)
    assert report is not None
    told = [next(read_events(journal.folder)), *report["warnings"]]
    assert [each["message"] for each in told] == ["half \ud800 of a pair"] * 2


@pytest.mark.parametrize("display", [PlainLines, GithubAnnotations, LiveDisplay])
def test_foreign_text_does_not_steer_the_terminal(display: Callable[[TextIO], Sink]) -> None:
    out = io.StringIO()
    sink = display(out)
    sink.handle(Failed("broken", "user", "a\x1b[2J\rb\ud800", "\x1b[31m.yaml", "\x9bm"))
    sink.close()
    written = out.getvalue().replace("\n", "")
    assert written.isprintable(), written
    assert r"a\x1b[2J\rb\ud800" in written.replace("%0D", r"\r")


def test_a_run_that_was_cut_short_has_no_report(home: Home) -> None:
    journal = Journal(home, "r1")
    journal.handle(BUILD[0])
    assert read_report(journal.folder) is None
    journal.close()


class FullDisk:
    def handle(self, event: Event) -> None:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        pytest.fail("a sink that was dropped is not closed")


def test_a_sink_that_fails_is_dropped_and_others_hear_of_it() -> None:
    out = io.StringIO()
    stream = EventStream([FullDisk(), PlainLines(out)])
    stream.emit(BUILD[0])
    stream.emit(BUILD[4])
    stream.close()
    assert out.getvalue().startswith("warning: FullDisk stopped: [Errno 28]")
    assert out.getvalue().count("FullDisk") == 1


def test_the_live_display_loses_no_line() -> None:
    out = io.StringIO()
    display = LiveDisplay(out)
    display.handle(BUILD[0])
    for number in range(400):
        display.handle(ActionStarted(f"a{number}", "", 10))
        display.handle(GateReported(f"gate-{number}", True, "fine"))
        display.handle(ActionFinished(f"a{number}", "ran", 0.1, None, "", 10))
    display.close()
    assert [f"gate-{number} " in out.getvalue() for number in range(400)] == [True] * 400
