"""The sandboxed Jinja environment of chat templates, which counts their work, strings and integers.

It renders as `transformers.utils.chat_template_utils` does (5.x), without importing transformers. `limits` has the
limits, and `compiled` turns exceptions into failures. The process's time limit ends whatever is not counted here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from mlxbuild.runtime.rendering.budget import BudgetExceeded, check_bits, check_characters, pay_for_text, spend

_STEPS_OF_A_CALL = 10
_FILTERS_OF_ITEMS = frozenset(
    {"batch", "count", "default", "dictsort", "first", "groupby", "items", "last", "length", "list", "map", "max"}
    | {"min", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "sum", "unique"}
)
"""Filters that pass items on without printing them."""
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\*|\d{6,})|\{[^}]*:[^}]*\d{6,}")
_WIDTH = re.compile(r"[%:.][^a-zA-Z%{}]*?(\d+)")
_GROWING_OPERATORS = frozenset({"+", "-", "*", "**", "%"})


class Refusal(jinja2.TemplateError):
    """The template itself called `raise_exception`."""


class ChatEnvironment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The environment of transformers with limits; an unsafe attribute raises an error instead of printing nothing."""

    intercepted_binops = _GROWING_OPERATORS

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_GenerationBlocks, jinja2.ext.loopcontrols],
            finalize=_printable,
        )
        del self.filters["random"], self.globals["lipsum"]  # a prompt must not depend on chance
        self.filters["tojson"] = _to_json
        self.filters = {name: _bounded_filter(name, function) for name, function in self.filters.items()}
        self.filters["_counted"] = _counted
        self.filters["_bounded"] = jinja2.pass_context(lambda _, value: _measured(value))
        self.filters["_printable"] = jinja2.pass_context(lambda _, value: _printable(value))
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda format: clock().strftime(format)  # noqa: A006
        self.globals["dict"] = _DictFactory()
        self.globals["namespace"] = _PlainNamespace

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        """Jinja's hook between parser and code generator."""
        limited: nodes.Template = _Limits().visit(source)
        return super()._generate(limited, name, filename, defer_init)

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join the output of a template, a macro or a block."""
        texts, characters = [], 0
        for text in parts:
            characters += len(text)
            check_characters(characters)
            texts.append(text)
        return "".join(texts)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        spend(_STEPS_OF_A_CALL)
        method = getattr(__obj, "__wrapped__", __obj)  # str.format comes wrapped
        name, owner = getattr(method, "__name__", ""), getattr(method, "__self__", None)
        if name == "join" and args:
            args = (_listed(args[0]), *args[1:])
        _check_call(name, owner, args, kwargs)
        return _measured(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for repeated, times in ((left, right), (right, left)):
                if isinstance(repeated, str | bytes) and isinstance(times, int):
                    check_characters(len(repeated) * max(times, 0))
                elif isinstance(repeated, list | tuple) and isinstance(times, int):
                    spend(len(repeated) * max(times, 0))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            check_bits(left.bit_length() * max(right, 0))
        elif operator == "%" and isinstance(left, str | bytes):
            _check_format(left, right)
        return _measured(super().call_binop(context, operator, left, right))

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        raise SecurityError(f"attribute {attribute!r} of a {type(obj).__name__} is out of reach for templates")


class _Limits(NodeTransformer):
    """Rewrites a template so that loop iterations are counted, and the operands and results of `~` are measured."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [_filtered(part, "_printable") for part in node.nodes]
        return _filtered(node, "_bounded")


def _filtered(node: nodes.Node, name: str) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _GenerationBlocks(jinja2.ext.Extension):
    """Accepts `{% generation %}...{% endgeneration %}`, which marks text for training, and prints what is inside."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_pass_through"), [], [], body).set_lineno(line)

    def _pass_through(self, caller: Macro) -> str:
        return caller()


class _DictFactory:
    """`dict(...)` for templates, which does not expose the type `dict`."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _PlainNamespace(Namespace):
    """`namespace(...)` that refuses names with a leading underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, given = args[0], dict(*args[1:], **kwargs)
        for name in given:
            _check_name(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold the underscore name {name!r}")


def _raise_exception(message: object) -> NoReturn:
    raise Refusal(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@jinja2.pass_context  # keeps jinja from running it while it compiles
def _counted(_: Context, iterable: Any) -> Any:
    if isinstance(iterable, Sized):
        spend(len(iterable))
        return iterable
    return _counted_items(iterable)


def _counted_items(iterable: Iterable[Any]) -> Iterator[Any]:
    for item in iterable:
        spend(1)
        yield item


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    takes_context = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        spend(_STEPS_OF_A_CALL)
        if name == "join" and len(args) > takes_context:
            args = (*args[:takes_context], _listed(args[takes_context]), *args[takes_context + 1 :])
        plain = args[takes_context:]
        _check_call(name, plain[0] if plain else None, plain[1:], kwargs)
        if name not in _FILTERS_OF_ITEMS and plain:
            _printable(plain[0])
        return _measured(function(*args, **kwargs))

    return bounded


def _check_call(name: str, owner: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse a call that would create too long a string, before it is made."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, int):
            check_characters(value)
    if name in ("format", "format_map") and isinstance(owner, str):
        _check_format(owner, [*args, *kwargs.values()])
    elif name == "replace" and isinstance(owner, str | bytes) and len(args) >= 2:
        old, new = args[:2]
        if isinstance(old, type(owner)) and isinstance(new, type(owner)):
            check_characters(owner.count(old) * len(new))  # type: ignore[arg-type]
    elif name == "expandtabs" and isinstance(owner, str | bytes):
        tab = "\t" if isinstance(owner, str) else b"\t"
        check_characters(owner.count(tab) * next(_integers(args, kwargs), 8))  # type: ignore[arg-type]
    elif name == "indent" and isinstance(owner, str):
        check_characters((owner.count("\n") + 1) * max(_integers(args, kwargs), default=4))
    elif name == "join":
        filtered = isinstance(owner, list)
        parts, glue = (owner, args[0] if args else "") if filtered else (args[0] if args else (), owner)
        between = len(glue) if isinstance(glue, str | bytes) else 0
        check_characters(sum(len(part) + between for part in parts if isinstance(part, str | bytes)))


def _integers(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[int]:
    return (value for value in (*args, *kwargs.values()) if type(value) is int)


def _listed(parts: Any) -> Any:
    """The items to join as a counted list, as their total length has to be known before they are joined."""
    return list(_counted_items(parts)) if isinstance(parts, Iterable) and not isinstance(parts, str) else parts


def _check_format(text: str | bytes, values: Any) -> None:
    """Refuse a format with a huge width, or one that prints a long value in many places."""
    written = text if isinstance(text, str) else text.decode("latin-1")
    if _WIDE_FORMAT.search(written):
        raise BudgetExceeded("the template formats to a huge or a computed width")
    places = written.count("%") + written.count("{")
    widest = max((int(width) for width in _WIDTH.findall(written)), default=0)
    check_characters(places * max(widest, _printed_characters(values)))


def _measured(value: Any) -> Any:
    if isinstance(value, str | bytes):
        pay_for_text(value)
    elif isinstance(value, int):
        check_bits(value.bit_length())
    elif isinstance(value, list | tuple):
        spend(len(value))
    return value


def _printable(value: Any) -> Any:
    _printed_characters(value)
    return value


def _printed_characters(value: Any) -> int:
    """Count every item that printing would visit, as a list may contain another many times; returns the characters."""
    pending, characters = [value], 0
    while pending:
        item = pending.pop()
        if isinstance(item, str | bytes):
            characters += len(item)
            check_characters(characters)
        elif isinstance(item, Mapping):
            spend(len(item))
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            spend(len(item))
            pending.extend(item)
    return characters
