"""Traces and history: kept, found, torn, diverging, and what `why` reads."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.cache.traces import Trace, TraceStore
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.action_key import action_key


def trace(text: str = "a", *, output: str = "1", seconds: float = 0.5) -> Trace:
    record = ActionRecord("join", 1, {"text": text}, {})
    blob = Blob(Digest("sha256", output * 64), 7)
    return Trace(action_key(record), record, {"out": blob}, seconds, {"out": 12})


def test_a_trace_is_found_as_it_was_kept(home: Home) -> None:
    traces, kept = TraceStore(home), trace()
    assert traces.find(kept.key) is None
    assert traces.put(kept) is None
    assert traces.find(kept.key) == kept


def test_a_torn_trace_is_none(home: Home) -> None:
    traces, kept = TraceStore(home), trace()
    traces.put(kept)
    (path,) = (home.cache / "traces").glob("??/*.json")
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        assert traces.find(kept.key) is None


@given(st.data())
def test_a_changed_trace_is_none(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        traces, kept = TraceStore(Home(Path(folder))), trace()
        traces.put(kept)
        (path,) = Path(folder).glob("cache/traces/??/*.json")
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        assert traces.find(kept.key) in (None, kept)
        assert list(traces.all()) in ([], [(kept, path.stat().st_mtime)])


@pytest.mark.parametrize("is_old", [False, True])
def test_a_trace_that_lies_under_another_key_is_none(home: Home, is_old: bool) -> None:
    traces, one, other = TraceStore(home), trace("a"), trace("b")
    paths = []
    for kept in (one, other):
        traces.put(kept)
        (path,) = (home.cache / "traces").glob(f"??/{kept.key.hex}.json")
        paths.append(path)
    if is_old:  # as earlier versions wrote them
        for path in paths:
            content = json.loads(path.read_bytes())
            path.write_text(json.dumps({name: content[name] for name in ("record", "outputs", "seconds", "stamps")}))
    assert (traces.find(one.key), traces.find(other.key)) == (one, other)
    shutil.copyfile(paths[0], paths[1])
    assert (traces.find(one.key), traces.find(other.key)) == (one, None)
    assert [kept for kept, _ in traces.all()] == [one]


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"{}", b'{"record": {}, "outputs": []}', b"1", b"null"])
def test_what_is_no_trace_is_none(home: Home, content: bytes) -> None:
    traces, kept = TraceStore(home), trace()
    traces.put(kept)
    (path,) = (home.cache / "traces").glob("??/*.json")
    path.write_bytes(content)
    assert traces.find(kept.key) is None
    assert list(traces.all()) == []


def test_the_first_of_two_results_stays(home: Home) -> None:
    traces = TraceStore(home)
    first, second = trace(output="1"), trace(output="2")
    traces.put(first)
    assert traces.put(second) == first.outputs
    assert traces.find(first.key) == first


def test_every_trace_is_listed_with_its_last_use(home: Home) -> None:
    traces = TraceStore(home)
    traces.put(trace("a"))
    traces.put(trace("b"))
    assert {kept.record.parameters["text"] for kept, used in traces.all() if used > 0} == {"a", "b"}


def test_history_keeps_the_last_key_and_the_different_one_before(home: Home) -> None:
    history = History(home)
    assert history.of(["n"]) == {}
    old, new = trace("a").key, trace("b").key
    for key in (old, new, new):
        history.record({"n": (key, 1.0)})
    known = history.of(["n", "unknown"])
    assert set(known) == {"n"}
    assert (known["n"].key, known["n"].previous) == (new, old)


def test_history_finds_labels_by_their_beginning(home: Home) -> None:
    history = History(home)
    history.record(dict.fromkeys(("x:a/quantize/000", "x:a/pack", "x:ab/pack"), (trace().key, 0.0)))
    assert history.labels("x:a/") == ("x:a/pack", "x:a/quantize/000")


def test_history_remembers_where_recipes_lie(home: Home) -> None:
    history, digest = History(home), Digest("sha256", "3" * 64)
    assert history.recipe_of(digest) is None
    history.remember_recipes({digest: Path("/recipes/ModelSpec.yaml")})
    assert history.recipe_of(digest) == Path("/recipes/ModelSpec.yaml")


def test_a_damaged_history_is_begun_anew(home: Home) -> None:
    history, key = History(home), trace().key
    assert history.record({"n": (key, 1.0)})
    (home.cache / "index.sqlite").write_bytes(b"this is no database" * 100)
    assert history.of(["n"]) == {}
    assert history.record({"n": (key, 1.0)})
    assert history.of(["n"])["n"].key == key


def test_a_history_that_cannot_be_kept_says_so(home: Home) -> None:
    (home.cache / "index.sqlite").mkdir(parents=True)
    assert not History(home).record({"n": (trace().key, 1.0)})
    assert History(home).of(["n"]) == {}
