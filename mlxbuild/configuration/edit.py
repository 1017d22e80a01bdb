"""Edits one value of a YAML text in place, by the marks of its nodes: comments and all else stay as they are.

The result is not checked here, and there are texts that this cannot edit: see `change`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

_Entry = tuple[Node, Node]
_INDENTATION = "  "
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\[\]{}]+)")
_LAST_COMMA = re.compile(r"\s*,")


def with_value(text: str, section: str | None, key: str, value: Any) -> str:
    """The text in which a key of a section, or of the top level, has a value; a section is made where there is none."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    entry = f"{key}: {_flow(value)}"
    if section is None:
        return _in_mapping(text, root, key, value) if isinstance(root, MappingNode) else _at_the_end(text, entry)
    if not isinstance(root, MappingNode):
        return _appended(text, section, entry, "")
    around = _entry(root, section)
    if around is None:
        if root.flow_style:
            return _with_flow_entry(text, root, f"{section}: {{{entry}}}")
        return _appended(text, section, entry, _indentation(root))
    inner = around[1]
    if isinstance(inner, MappingNode):
        return _in_mapping(text, inner, key, value)
    begin, end = _span(text, around)
    if root.flow_style or begin < end:
        return _with_other_value(text, around, f"{{{entry}}}")
    return _with_line(text, end, _indentation(root) + _INDENTATION + entry)


def _in_mapping(text: str, mapping: MappingNode, key: str, value: Any) -> str:
    entry = f"{key}: {_flow(value)}"
    if (found := _entry(mapping, key)) is not None:
        return _with_other_value(text, found, _flow(value))
    if mapping.flow_style:
        return _with_flow_entry(text, mapping, entry)
    return _with_line(text, _span(text, mapping.value[-1])[1], _indentation(mapping) + entry)


def without_value(text: str, section: str | None, key: str) -> str:
    """The text in which a section, or the top level, has no such key."""
    inner = yaml.compose(text, Loader=yaml.SafeLoader)
    if section is not None:
        around = _entry(inner, section) if isinstance(inner, MappingNode) else None
        inner = None if around is None else around[1]
    found = _entry(inner, key) if isinstance(inner, MappingNode) else None
    if not isinstance(inner, MappingNode) or found is None:
        return text
    begin, end = found[0].start_mark.index, _span(text, found)[1]
    place = inner.value.index(found)
    if not inner.flow_style:
        begin = text.rfind("\n", 0, begin) + 1
        end = _line_end(text, end)
        end += len(_line_break(text)) if end < len(text) else 0
    elif place + 1 < len(inner.value):
        end = inner.value[place + 1][0].start_mark.index
    elif place:
        begin = _span(text, inner.value[place - 1])[1]
    elif (comma := _LAST_COMMA.match(text, end)) is not None:
        end = comma.end()
    return text[:begin] + text[end:]


def _flow(value: Any) -> str:
    """A value in flow style, which may stand anywhere."""
    return yaml.safe_dump([value], default_flow_style=True, width=math.inf, allow_unicode=True).strip()[1:-1]


def _entry(mapping: MappingNode, key: str) -> _Entry | None:
    """The entry that counts: the last of this key."""
    found = [entry for entry in mapping.value if isinstance(entry[0], ScalarNode) and entry[0].value == key]
    return found[-1] if found else None


def _span(text: str, entry: _Entry) -> tuple[int, int]:
    """Where the value of an entry begins and ends, without the comments behind it."""
    after, value = entry[0].end_mark.index, entry[1]
    if value.start_mark.index >= after:
        return value.start_mark.index, _end(text, value)
    alias = _ALIAS.match(text, after)  # its node is that of its anchor
    return (after, after) if alias is None else alias.span(1)


def _end(text: str, node: Node) -> int:
    """Where a node ends; the marks of blocks are where the next token begins, behind comments."""
    if isinstance(node, CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _span(text, last)[1] if isinstance(last, tuple) else _end(text, last)
    begin, end = node.start_mark.index, node.end_mark.index
    is_block = isinstance(node, ScalarNode) and node.style in ("|", ">")
    return begin + len(text[begin:end].rstrip()) if is_block else int(end)


def _indentation(mapping: MappingNode) -> str:
    """That of a block's keys; it begins with its anchor, if it has one, or with the `?` of its first key."""
    begin, first = mapping.start_mark, mapping.value[0][0].start_mark
    return " " * (begin.column if begin.line == first.line else first.column)


def _line_end(text: str, index: int) -> int:
    """Where a line ends, before its line break."""
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[index:end].endswith("\r") else end


def _line_break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _appended(text: str, section: str, entry: str, indentation: str) -> str:
    return _at_the_end(text, f"{indentation}{section}:{_line_break(text)}{indentation}{_INDENTATION}{entry}")


def _at_the_end(text: str, lines: str) -> str:
    line_break = _line_break(text)
    before = text if not text or text.endswith("\n") else text + line_break
    return f"{before}{lines}{line_break}"


def _with_line(text: str, index: int, line: str) -> str:
    """The text with a line after that of an index."""
    end = _line_end(text, index)
    return text[:end] + _line_break(text) + line + text[end:]


def _with_flow_entry(text: str, mapping: MappingNode, entry: str) -> str:
    if not mapping.value:
        place = mapping.end_mark.index - 1
        return text[:place] + entry + text[place:]
    place = _span(text, mapping.value[-1])[1]
    return f"{text[:place]}, {entry}{text[place:]}"


def _with_other_value(text: str, entry: _Entry, value: str) -> str:
    begin, end = _span(text, entry)
    old = entry[1]
    if isinstance(old, CollectionNode) and not old.flow_style and old.start_mark.index == begin:
        colon = text.index(":", entry[0].end_mark.index) + 1  # the block begins on a line of its own, behind comments
        return f"{text[:colon]} {value}{text[colon:begin].rstrip()}{text[end:]}"
    return text[:begin] + (value if begin < end else f" {value}") + text[end:]
