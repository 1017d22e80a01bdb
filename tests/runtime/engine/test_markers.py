"""Markers are found wherever the text is cut, and no text is held back longer than necessary."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.runtime.engine.output.markers import MarkerSearch

MARKERS = ("<a>", "<ab>", "ba", "aaab")
TEXT = st.text("<ab>", max_size=30)


def found_in_pieces(pieces: list[str]) -> list[tuple[str, str | None]]:
    search, found = MarkerSearch(MARKERS), []
    plain = ""
    for piece in pieces:
        while True:
            text, marker = search.feed(piece)
            plain, piece = plain + text, ""
            if marker is None:
                break
            found.append((plain, marker))
            plain = ""
    return [*found, (plain + search.finish(), None)]


@given(text=TEXT, cuts=st.lists(st.integers(0, 30), max_size=6))
def test_however_the_text_is_cut_nothing_is_lost_and_no_marker_is_missed(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    found = found_in_pieces([text[a:b] for a, b in itertools.pairwise(places)])
    assert "".join(plain + (marker or "") for plain, marker in found) == text
    assert not any(marker in plain for plain, _ in found for marker in MARKERS)


def test_only_the_beginning_of_a_marker_is_held_back() -> None:
    search = MarkerSearch(["</think>"])
    assert search.feed("yes </th") == ("yes ", None)
    assert search.feed("i") == ("", None)
    assert search.feed("m") == ("</thim", None)
    assert search.feed("a</think>b") == ("a", "</think>")
    assert search.feed("") == ("b", None)
    assert (search.feed("</"), search.finish()) == (("", None), "</")


def test_without_markers_text_passes() -> None:
    assert MarkerSearch([]).feed("<think>") == ("<think>", None)
