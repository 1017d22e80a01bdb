"""Texts in which one value is edited: whatever comments and styles they have, all else stays byte for byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.configuration.edit import with_value, without_value

KEYS = ("memory", "port", "pin", "drafts", "keep_alive")
IN_BLOCKS = (
    "5",
    "'a b'",
    '"x: # y"',
    "[a, b]",
    "{a: b}",
    "",
    "~",
    "|\n{i}  text\n{i}  more",
    "\n{i}- a\n{i}- b: c",
    "*one",
)
IN_FLOWS = ("5", "'a b'", '"x: # y"', "[a, b]", "{a: b}", "~", "*one")
NOTE = re.compile(r"# note \d+")
VALUES = st.one_of(
    st.integers(-5, 10**12),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff")),
    st.lists(st.sampled_from(["hello", "a:b", "x, y", "#"])),
    st.dictionaries(st.sampled_from(["a", "b:c@1", "*"]), st.sampled_from(["d", "e:f"])),
)


@dataclass(frozen=True)
class Document:
    """A text with the section, and what it says."""

    text: str

    @property
    def said(self) -> Any:
        """What a parser reads."""
        return yaml.safe_load(self.text)

    @property
    def section(self) -> dict[str, Any]:
        """What the section says."""
        return (self.said or {}).get("serve") or {}


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Documents of blocks and flows, with comments at every place, and other sections around."""
    comments = (f"# note {number}" for number in range(100))

    def comment(before: str = " ") -> str:
        return f"{before}{next(comments)}" if draw(st.booleans()) else ""

    def lines(indentation: str) -> str:
        return f"{indentation}{next(comments)}\n" if draw(st.booleans()) else draw(st.sampled_from(["", "\n"]))

    def blocks(keys: list[str], indentation: str) -> str:
        text = ""
        for key in keys:
            value = draw(st.sampled_from(IN_BLOCKS)).replace("{i}", indentation)
            at_end = "" if "\n" in value else comment()
            text += f"{lines(indentation)}{indentation}{key}: {value}".rstrip(" ") + f"{at_end}\n"
        return text

    def flows(keys: list[str]) -> str:
        entries = [f"{key}: {draw(st.sampled_from(IN_FLOWS))}" for key in keys]
        last = draw(st.sampled_from(["", ","])) if entries else ""
        between = draw(st.sampled_from([", ", ",\n  "]))
        return "{" + between.join(entries) + last + "}"

    def some(known: tuple[str, ...]) -> list[str]:
        return draw(st.lists(st.sampled_from(known), unique=True))

    style = draw(st.sampled_from(["block", "flow", "null", "none", "around"]))
    others = [f"other{number}: {{a: b}}{comment()}\n" for number in range(draw(st.integers(0, 2)))]
    text = f"{lines('')}one: &one 1\n{lines('')}"
    if style == "block":
        text += f"serve:{comment()}\n{blocks(some(KEYS) or ['port'], draw(st.sampled_from(['  ', '    '])))}"
    elif style == "flow":
        text += f"serve: {flows(some(KEYS))}{comment()}\n"
    elif style == "null":
        text += f"serve:{draw(st.sampled_from(['', ' ~', ' null']))}{comment()}\n"
    text += "".join(others) + lines("")
    if style == "around":
        text = f"{{one: &one 1{draw(st.sampled_from(['', f', serve: {flows(some(KEYS))}']))}}}{comment()}\n"
    return Document(text.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))))


@given(documents(), st.sampled_from(KEYS), VALUES)
def test_a_value_is_set_and_all_else_stays(document: Document, key: str, value: Any) -> None:
    edited = Document(with_value(document.text, "serve", key, value))
    assert edited.said == {**document.said, "serve": {**document.section, key: value}}
    assert NOTE.findall(edited.text) == NOTE.findall(document.text)
    gone = _words(_before(document.text, edited.text))
    assert any(gone in _words(form.replace("{i}", "")) for form in (*IN_BLOCKS, "null")), "more than the value"


@given(documents(), st.sampled_from(KEYS), VALUES)
def test_a_value_that_is_set_and_removed_leaves_no_trace(document: Document, key: str, value: Any) -> None:
    if key in document.section:
        removed = without_value(document.text, "serve", key)
        kept = {name: each for name, each in document.section.items() if name != key}
        assert {**Document(removed).said, "serve": Document(removed).section} == {**document.said, "serve": kept}
        assert without_value(removed, "serve", key) == removed
    elif document.section:
        assert without_value(with_value(document.text, "serve", key, value), "serve", key) == document.text


def _before(text: str, edited: str) -> str:
    """What a text had between the beginning and the end that it shares with the edited one."""
    most = min(len(text), len(edited))
    begin = next((place for place in range(most) if text[place] != edited[place]), most)
    end = next((place for place in range(most - begin) if text[-1 - place] != edited[-1 - place]), most - begin)
    return text[begin : len(text) - end]


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("", "serve:\n  memory: 20GB\n"),
        ("# mine", "# mine\nserve:\n  memory: 20GB\n"),
        ("mirrors: {} # m\n", "mirrors: {} # m\nserve:\n  memory: 20GB\n"),
        ("serve: # here\nca: x\n", "serve: # here\n  memory: 20GB\nca: x\n"),
        ("serve:\n  port: 1 # p\n  # end\nca: x\n", "serve:\n  port: 1 # p\n  memory: 20GB\n  # end\nca: x\n"),
        ("serve:\n    memory: 5   # was 4\n", "serve:\n    memory: 20GB   # was 4\n"),
        ("serve:\n  memory:\n    - 1 # one\n    - 2 # two\n", "serve:\n  memory: 20GB # two\n"),
        ("serve: {port: 1, memory: 5,} # s\n", "serve: {port: 1, memory: 20GB,} # s\n"),
        ("serve: {port: 1} # s\n", "serve: {port: 1, memory: 20GB} # s\n"),
        ("{serve: }\n", "{serve: {memory: 20GB} }\n"),
        ("  serve:\n   port: 1", "  serve:\n   port: 1\n   memory: 20GB"),
        ("serve: &s\n    port: 1\n", "serve: &s\n    port: 1\n    memory: 20GB\n"),
        ("serve:\n  ? port\n  : 1\n", "serve:\n  ? port\n  : 1\n  memory: 20GB\n"),
        ("a: &a 1\nserve: {memory: *a}\n", "a: &a 1\nserve: {memory: 20GB}\n"),
    ],
)
def test_texts_of_people(text: str, edited: str) -> None:
    assert with_value(text, "serve", "memory", "20GB") == edited
