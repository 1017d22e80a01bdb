"""Parses a recipe's text to plain data, and keeps every YAML node with its location.

The YAML is a strict subset of 1.2's core schema: maps, lists, text, `true`, `false`, `null`, integers and
decimals, plus the merge key `<<` of YAML 1.1. Tags are not allowed and all keys are text; size, depth, aliases and
merges are limited.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml._yaml import CParser  # libyaml; the pure Python parser is ten times slower
from yaml.error import MarkedYAMLError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from mlxbuild.registry.core.errors import Location
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.problems import Code, Problem, Snippet

LARGEST_BYTES = 256 * 1024
DEEPEST = 32
MOST_VALUES = 20_000
LONGEST_NUMBER = 40
"""The number of characters of a number that a message repeats."""

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,19})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,20}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,20}(?=[eE]))(?:[eE][-+]?[0-9]{1,4})?")
_WORDS = {"true": "bool", "false": "bool", "null": "null", "~": "null", "": "null"}
_MERGE = "merge"
"""The tag of an unquoted `<<`."""
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # the ones that libyaml counts


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed recipe: `data` is plain, `root` holds its nodes, `problems` the mistakes that did not stop parsing."""

    file: str
    """Name of the file in messages."""
    lines: tuple[str, ...]
    root: MappingNode
    data: dict[str, Any]
    problems: tuple[Problem, ...]

    def problem(self, code: Code, message: str, node: Node, note: str = "", hint: str | None = None) -> Problem:
        """A problem whose marker is under the node, or under the node's first line."""
        start = node.start_mark
        end = node.end_mark or start  # a collection that is still being parsed has no end
        line = self.lines[start.line] if start.line < len(self.lines) else ""
        stop = end.column if end.line == start.line else len(line.rstrip())
        location = Location(self.file, start.line + 1, start.column + 1)
        return Problem(code, message, location, hint, Snippet(line, start.column + 1, stop - start.column, note))


class _Parser(CParser):
    """libyaml's parser with our own interpretation of plain scalars and a depth limit."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def resolve(self, kind: type[Node], value: str, implicit: Any) -> str:
        if kind is not ScalarNode:
            return "map" if kind is MappingNode else "seq"
        if not implicit[0]:
            return "str"
        if value in _WORDS:
            return _WORDS[value]
        if value == "<<":
            return _MERGE
        if value[0] not in "+-.0123456789":
            return "str"
        if _INT.fullmatch(value):
            return "int"
        return "float" if _FLOAT.fullmatch(value) else "str"

    def descend_resolver(self, parent: Node | None, index: object) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise _TooDeep(parent)

    def ascend_resolver(self) -> None:
        self.depth -= 1


class _TooDeep(Exception):
    def __init__(self, node: Node | None) -> None:
        self.node = node


def read(path: Path) -> Document:
    """Read and parse a recipe.

    Raises:
        SpecError: the file cannot be read, is too large, not UTF-8, not YAML, or not a map.
    """
    file = str(path)
    if path.is_dir():
        raise _refused(Code.FILE, f"{file} is a folder", file, f"name the recipe in it: {path / 'ModelSpec.yaml'}")
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise _refused(
            Code.FILE, f"there is no {file}", file, "`mlxbuild init MODEL > ModelSpec.yaml` writes a first recipe"
        ) from None
    except OSError as error:
        raise _refused(Code.FILE, f"cannot read {file}: {error.strerror}", file, "check its permissions") from None
    if len(content) > LARGEST_BYTES:
        raise _refused(
            Code.TOO_LARGE,
            f"the recipe is larger than {LARGEST_BYTES // 1024} KiB",
            file,
            "move long texts to files beside it and name them: system_prompt: {file: system.md}",
        )
    return parse(content, file)


def parse(content: bytes, file: str) -> Document:
    """Parse the content of a recipe; `file` is its name in messages.

    Raises:
        SpecError: it is not UTF-8, not YAML, exceeds a limit, or is not a map.
    """
    text = _decode(content, file)
    lines = tuple(_LINE_BREAK.split(text))
    unfinished = Document(file, lines, MappingNode("map", []), {}, ())
    root = _compose(text, unfinished)
    if root is None:
        raise _refused(Code.EMPTY, "the recipe is empty", file, "`mlxbuild init MODEL` writes a first recipe")
    if not isinstance(root, MappingNode):
        message = "the recipe is not a map of keys and values"
        raise SpecError((unfinished.problem(Code.TYPE, message, root, "expected `key: value` lines"),))
    reader = _Reader(unfinished)
    data = reader.mapping(root, 0)
    return Document(file, lines, root, data, tuple(reader.problems))


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        start = before.rfind(b"\n") + 1
        place = Location(file, before.count(b"\n") + 1, len(before[start:].decode("utf-8", "replace")) + 1)
        line = content[start:].split(b"\n", 1)[0].decode("utf-8", "replace")
        snippet = Snippet(line, place.column or 1, 1, f"byte 0x{content[error.start]:02x}")
        hint = "save the file as UTF-8"
        raise SpecError((Problem(Code.ENCODING, "the recipe is not UTF-8", place, hint, snippet),)) from None


def _compose(text: str, document: Document) -> Node | None:
    try:
        parser = _Parser(text)
        try:
            node: Node | None = parser.get_single_node()
        finally:
            parser.dispose()
        return node
    except _TooDeep as error:
        message = f"the recipe is nested deeper than {DEEPEST} levels"
        if error.node is None:  # below the first level, there always is a parent
            raise _refused(Code.DEPTH, message, document.file, "no recipe needs that") from None
        raise SpecError((document.problem(Code.DEPTH, message, error.node, "too deep here"),)) from None
    except MarkedYAMLError as error:
        raise SpecError((_syntax(error, document),)) from None
    except ReaderError as error:
        before = text.encode()[: error.position].decode("utf-8", "ignore")  # libyaml counts bytes
        above = _LINE_BREAK.split(before)
        location = Location(document.file, len(above), len(above[-1]) + 1)
        snippet = Snippet(document.lines[len(above) - 1], len(above[-1]) + 1, 1, f"character U+{error.character:04X}")
        hint = 'remove it, or write it as an escape: "\\x1b"'
        problem = Problem(Code.SYNTAX, f"not valid YAML: {error.reason}", location, hint, snippet)
        raise SpecError((problem,)) from None


def _syntax(error: MarkedYAMLError, document: Document) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = error.problem or error.context or "cannot be parsed"
    row, column = (mark.line, mark.column) if mark else (0, 0)
    line = document.lines[row] if row < len(document.lines) else ""
    hint = None
    if "another document" in said:
        said, hint = "more than one document", "keep one recipe per file, and write no `---`"
    elif "\t" in line[: column + 1]:
        hint = "indent with spaces; YAML does not take tabs"
    elif "mapping values are not allowed" in said:
        hint = 'quote a text that holds a colon: key: "one: two"'
    elif "could not find expected" in said or "did not find expected" in said:
        hint = "check the indentation, and that every quote and bracket is closed"
    note = error.context or ""
    snippet = Snippet(line, column + 1, 1, note)
    return Problem(Code.SYNTAX, f"not valid YAML: {said}", Location(document.file, row + 1, column + 1), hint, snippet)


def _refused(code: Code, message: str, file: str, hint: str) -> SpecError:
    return SpecError((Problem(code, message, Location(file), hint),))


class _Reader:
    """Builds plain data from nodes and collects the mistakes that do not stop parsing."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.values = 0

    def value(self, node: Node, depth: int) -> Any:
        self.values += 1
        if self.values > MOST_VALUES or depth > DEEPEST:
            bound = f"nest deeper than {DEEPEST} levels" if depth > DEEPEST else f"give more than {MOST_VALUES} values"
            message = f"the aliases of the recipe {bound}"
            hint = "write the values out, and use no alias inside its own anchor"
            raise SpecError((self.document.problem(Code.ALIASES, message, node, "reached here", hint),))
        if isinstance(node, ScalarNode):
            return self.scalar(node)
        if isinstance(node, MappingNode):
            return self.mapping(node, depth)
        assert isinstance(node, SequenceNode)
        self.check_tag(node, "seq")
        return [self.value(item, depth + 1) for item in node.value]

    def mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        self.check_tag(node, "map")
        self.merge(node, depth)
        data: dict[str, Any] = {}
        seen: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.report(Code.TYPE, "a key must be text", key_node, "expected text")
                continue
            key = key_node.value
            if key_node.tag not in ("str", _MERGE) and not key_node.tag.startswith(("tag:", "!")):
                self.report(Code.UNQUOTED, f"the key `{key}` must be quoted", key_node, "", f'write "{key}": ...')
            if key in seen:
                first = seen[key].start_mark.line + 1
                self.report(
                    Code.DUPLICATE_KEY,
                    f"duplicate key `{key}`",
                    key_node,
                    f"already given on line {first}",
                    "keep one of the two",
                )
                continue
            seen[key] = key_node
            data[key] = self.value(value_node, depth + 1)
        return data

    def merge(self, node: MappingNode, depth: int) -> None:
        """Put the entries of `<<` before the map's own keys, which override them (https://yaml.org/type/merge.html).

        The merged nodes are those of the anchor, so that mistakes in them are reported where they are written.
        """
        merges = [pair for pair in node.value if pair[0].tag == _MERGE]
        if not merges:
            return
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        node.value = own
        if len(merges) > 1:
            hint = "merge several at once: <<: [*first, *second]"
            self.report(Code.DUPLICATE_KEY, "duplicate key `<<`", merges[1][0], "one `<<` a map", hint)
        value = merges[0][1]
        taken = {key.value for key, _ in own if isinstance(key, ScalarNode)}
        merged = []
        for source in value.value if isinstance(value, SequenceNode) else [value]:
            if not isinstance(source, MappingNode):
                hint = "name anchors of maps: <<: *anchor, or <<: [*first, *second]"
                self.report(Code.TYPE, "`<<` takes only maps", source, "expected a map", hint)
                continue
            if source is node:
                self.report(Code.ALIASES, "a map is merged into itself", merges[0][0], "leads back", "remove it")
                continue
            self.value(source, depth + 1)
            fresh = [pair for pair in source.value if isinstance(pair[0], ScalarNode) and pair[0].value not in taken]
            taken |= {key.value for key, _ in fresh}
            merged += fresh
        node.value = [*merged, *own]

    def scalar(self, node: ScalarNode) -> Any:
        text: str = node.value
        match node.tag:
            case "str" | "merge":
                return text
            case "int":
                return int(text)
            case "float":
                number = float(text)
                if math.isinf(number):
                    self.report(Code.RANGE, f"`{text[:LONGEST_NUMBER]}` is too large a number", node)
                    return 0.0
                return number
            case "bool":
                return text == "true"
            case "null":
                return None
            case _:
                self.check_tag(node, "")
                return text

    def check_tag(self, node: Node, expected: str) -> None:
        if node.tag != expected:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.report(Code.YAML_TAG, f"YAML tags are not allowed: `{tag}`", node, "", f"remove `{tag}`")

    def report(self, code: Code, message: str, node: Node, note: str = "", hint: str | None = None) -> None:
        self.problems.append(self.document.problem(code, message, node, note, hint))
