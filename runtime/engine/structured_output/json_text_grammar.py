"""Rewrites Lark grammars for text inside a JSON string: terminals match the escaped form of their characters.

A grammar without recursion becomes a single terminal, as an escaped line break has two characters, and llguidance's
lexer looks only one ahead. Recursive grammars keep their rules, and must not match escaped characters.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import re

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import literal
from mlxbuild.runtime.engine.structured_output.json_schema import LONGEST_SCHEMA

_STRING = r'"(?:\\.|[^"\\\n])*"'
_PARTS = re.compile(
    rf"(?P<comment>(?:\#|//)[^\n]*)"
    rf"|(?P<range>{_STRING}\s*\.\.\s*{_STRING})"
    rf"|(?P<string>{_STRING})(?P<any_case>i?)"
    r"|(?P<regex>/(?:\\.|[^/\\])+/)(?P<flags>[a-z]*)"
    r"|%import[ \t]+common[ \t]*\.[ \t]*(?P<imported>\w+)(?:[ \t]*->[ \t]*(?P<alias>\w+))?"
    r"|%import[ \t]+common[ \t]*\((?P<several>[^)]*)\)"
    r"|(?P<unknown>%(?!ignore\b|import\b)\w*|[<@])"
    r"|(?P<sign>^[ \t]*[?!](?=\w)|->[ \t]*\w+)"
    r"|(?P<name>\b[A-Za-z_]\w*)",
    re.MULTILINE,
)
_RULE = re.compile(r"^[ \t]*[?!]?(\w+)[ \t]*(\[[^\]\n]*\])?[ \t]*:", re.MULTILINE)
_RANGE = re.compile(rf"({_STRING})\s*\.\.\s*({_STRING})")
_COMMON = {
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(\r?\n)+",
    "WS": r"[ \t\f\r\n]+",
    "WS_INLINE": r"[ \t]+",
    "ESCAPED_STRING": r'"([^"\\\n]|\\.)*"',
}
"""Terminals of Lark's `common` with characters that JSON escapes; the others are imported unchanged."""
_ESCAPED = '"\\\b\f\n\r\t'
"""Characters that JSON escapes by a backslash and one character. Other control characters are not possible."""
_PLAIN = r"[^\x00-\x1f\x22\x5c]"
_CHARACTER = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\u\{([0-9a-fA-F]+)\}")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_ATOM = re.compile(
    r"\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|" + _CHARACTER.pattern + r"|\(\?(?:P?<\w+>|:)|\(\?|\\.|.", re.DOTALL
)
"""A character or character class of a regular expression, or an element of its syntax."""


def in_json_text(grammar: str) -> str:
    """The grammar of all texts of a grammar, in their form inside a JSON string.

    Raises:
        FormatNotSupported: it is too long, uses unsupported syntax, or is recursive and matches characters that JSON
            escapes.
    """
    if len(grammar) > LONGEST_SCHEMA:
        raise FormatNotSupported(f"the grammar has {len(grammar):,} characters, above {LONGEST_SCHEMA:,}")
    skeleton = _PARTS.sub(lambda part: part[0] if part["name"] else " ", grammar)
    if any(rule[2] for rule in _RULE.finditer(skeleton)):
        raise FormatNotSupported("attributes of rules are not supported inside a tool call")
    if "%ignore" in grammar or _refers_to_itself(skeleton):
        return _PARTS.sub(functools.partial(_rewritten, is_regular=False), grammar)
    return f"start: {_terminal('start')}\n" + _PARTS.sub(functools.partial(_rewritten, is_regular=True), grammar)


def _refers_to_itself(skeleton: str) -> bool:
    """Whether a rule is recursive; `skeleton` has only the names in the grammar and the text between them."""
    _, *parts = _RULE.split(skeleton)
    graph = {name: set(re.findall(r"\w+", body)) for name, body in zip(parts[::3], parts[2::3], strict=True)}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return True
    return False


def _terminal(name: str) -> str:
    """The name of the terminal that replaces a rule."""
    return name if name.isupper() else f"RULE_{name.upper()}"


def _rewritten(part: re.Match[str], *, is_regular: bool) -> str:
    if part["name"] is not None:
        return _terminal(part["name"]) if is_regular else part["name"]
    if part["sign"] is not None:
        return "" if is_regular else part["sign"]
    if part["comment"] is not None:
        return ""
    if part["range"] is not None:
        first, last = (re.escape(_text(each)) for each in _RANGE.fullmatch(part["range"]).groups())  # type: ignore[union-attr]
        return f"/{_escaped_regex(f'[{first}-{last}]', '', is_regular)}/"
    if part["string"] is not None:
        text = _text(part["string"])
        if part["any_case"]:
            return f"/{_escaped_regex(re.escape(text).replace('/', chr(92) + '/'), 'i', is_regular)}/i"
        return literal(json.dumps(text, ensure_ascii=False)[1:-1])
    if part["regex"] is not None:
        if strange := set(part["flags"]) - set("isu"):
            raise FormatNotSupported(f"the flag `{min(strange)}` of a regular expression is not known here")
        return f"/{_escaped_regex(part['regex'][1:-1], part['flags'], is_regular)}/{part['flags']}"
    if part["unknown"] is not None:
        raise FormatNotSupported(f"`{part['unknown']}` of the grammar is not supported inside a tool call")
    names = [name.strip() for name in part["several"].split(",")] if part["several"] else [part["imported"]]
    return "\n".join(_imported(name, part["alias"] or name, is_regular) for name in names if name)


def _imported(name: str, alias: str, is_regular: bool) -> str:
    if name in _COMMON:
        return f"{alias}: /{_escaped_regex(_COMMON[name], '', is_regular)}/"
    return f"%import common.{name}" + (f" -> {alias}" if alias != name else "")


def _text(quoted: str) -> str:
    try:
        return str(ast.literal_eval(quoted.replace("\\/", "/")))
    except (SyntaxError, ValueError):
        raise FormatNotSupported(f"the string {quoted} of the grammar cannot be read") from None


def _escaped_regex(pattern: str, flags: str, is_regular: bool) -> str:
    """A regular expression for the escaped forms of all matches of another one."""
    return "".join(_escaped_atom(atom[0], flags, is_regular) for atom in _ATOM.finditer(pattern))


@functools.lru_cache(maxsize=1000)
def _escaped_atom(atom: str, flags: str, is_regular: bool) -> str:
    if atom in ("[", "(?"):
        raise FormatNotSupported(f"a regular expression of the grammar has `{atom}` without an end, or unknown here")
    if atom.startswith("[") or atom in (".", r"\s", r"\S", r"\W", r"\D"):
        return _escaped_class(atom, flags, is_regular)
    if atom.startswith("(") or atom in (r"\d", r"\w"):
        return atom
    if found := _CHARACTER.fullmatch(atom):
        code = int(next(filter(None, found.groups())), 16)
        character = chr(code) if code < 0x110000 else ""
    elif atom.startswith("\\"):
        character = _CONTROLS.get(atom[1:], atom[1:])
        if atom[1:].isalnum() and atom[1:] not in _CONTROLS:
            raise FormatNotSupported(f"`{atom}` of a regular expression is not supported inside a tool call")
    else:
        character = atom
    return _escape(character) if character in _ESCAPED and character else atom


def _escaped_class(atom: str, flags: str, is_regular: bool) -> str:
    inside = r"[\s\S]" if atom == "." and "s" in flags else r"[^\n]" if atom == "." else atom
    try:
        matcher = re.compile(inside)
    except re.error:
        raise FormatNotSupported(f"the class {atom} of a regular expression cannot be read") from None
    escapes = [_escape(character) for character in _ESCAPED if matcher.fullmatch(character)]
    if escapes and not is_regular:
        raise FormatNotSupported(
            f"a grammar that refers to itself, or ignores something, cannot have {atom} inside a tool call",
            hint="name the characters, without quotation marks, backslashes and ends of lines",
        )
    plain = f"[{inside}&&{_PLAIN}]"
    return f"(?:{'|'.join([plain, *escapes])})"


def _escape(character: str) -> str:
    return f"(?-i:{re.escape(json.dumps(character)[1:-1])})"
