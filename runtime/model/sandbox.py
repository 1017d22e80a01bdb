"""The Jinja environment that chat templates run in: nothing to reach, and only so much work and text each time.

It renders as `transformers.utils.chat_template_utils` does (5.x), without importing transformers. Which variables
a template sees, and what its failures mean, is not decided here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MAXIMUM_CHARACTERS = 16 * 1024 * 1024
"""Of a whole rendering, and of any text made on the way."""
MAXIMUM_STEPS = 4_000_000
"""Of one rendering: loop rounds, items of lists made or printed, and calls."""
_STEPS_OF_A_CALL = 10
_CHARACTERS_OF_A_STEP = 1024

_steps_left: ContextVar[list[int] | None] = ContextVar("steps_left", default=None)
_FILTERS_OF_ITEMS = frozenset(
    {"batch", "count", "default", "dictsort", "first", "groupby", "items", "last", "length", "list", "map", "max"}
    | {"min", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "sum", "unique"}
)
"""These pass items on and print none."""
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\*|\d{6,})|\{[^}]*:[^}]*\d{6,}")


class TooMuch(TemplateRuntimeError):
    """A template loops or grows beyond the limits."""


class Refusal(jinja2.TemplateError):
    """The template itself called `raise_exception`."""


@contextmanager
def limited_rendering() -> Iterator[None]:
    """Everything rendered inside shares one budget of steps."""
    token = _steps_left.set([MAXIMUM_STEPS])
    try:
        yield
    finally:
        _steps_left.reset(token)


class ChatEnvironment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """transformers' environment with limits, and an error at an unsafe attribute instead of a silent blank."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

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
        """Join what a template, a macro or a block wrote."""
        texts, characters = [], 0
        for text in parts:
            characters += len(text)
            _check_characters(characters)
            texts.append(text)
        return "".join(texts)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        _spend(_STEPS_OF_A_CALL)
        method = getattr(__obj, "__wrapped__", __obj)  # str.format comes wrapped
        _check_call(getattr(method, "__name__", ""), getattr(method, "__self__", None), args, kwargs)
        return _measured(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for repeated, times in ((left, right), (right, left)):
                if isinstance(repeated, str) and isinstance(times, int):
                    _check_characters(len(repeated) * max(times, 0))
                elif isinstance(repeated, list | tuple) and isinstance(times, int):
                    _spend(len(repeated) * max(times, 0))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_characters(left.bit_length() * max(right, 0))
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            _printable(right)
        return _measured(super().call_binop(context, operator, left, right))

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        raise SecurityError(f"attribute {attribute!r} of a {type(obj).__name__} is out of reach for templates")


class _Limits(NodeTransformer):
    """Counts the rounds of every loop, and measures what `~` joins and makes."""

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
    """`{% generation %}...{% endgeneration %}` marks assistant text for training; here it only passes through."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_pass_through"), [], [], body).set_lineno(line)

    def _pass_through(self, caller: Macro) -> str:
        return caller()


class _DictFactory:
    """`dict(...)` without the type behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _PlainNamespace(Namespace):
    """`namespace(...)` that takes no underscore names."""

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


def _spend(steps: int) -> None:
    left = _steps_left.get()
    if left is not None:
        left[0] -= steps
        if left[0] < 0:
            raise TooMuch(f"the template takes more than {MAXIMUM_STEPS:,} steps; does it loop without end?")


@jinja2.pass_context  # keeps jinja from running it while it compiles
def _counted(_: Context, iterable: Any) -> Any:
    if isinstance(iterable, Sized):
        _spend(len(iterable))
        return iterable
    return _counted_items(iterable)


def _counted_items(iterable: Iterable[Any]) -> Iterator[Any]:
    for item in iterable:
        _spend(1)
        yield item


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    takes_context = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _spend(_STEPS_OF_A_CALL)
        plain = args[takes_context:]
        _check_call(name, plain[0] if plain else None, plain[1:], kwargs)
        if name not in _FILTERS_OF_ITEMS and plain:
            _printable(plain[0])
        return _measured(function(*args, **kwargs))

    return bounded


def _check_call(name: str, owner: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse, before it is made, a text that a single call would make too long."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, int):
            _check_characters(value)
    if name == "format" and isinstance(owner, str):
        _check_format(owner)
    elif name == "replace" and isinstance(owner, str) and len(args) >= 2:
        old, new = args[:2]
        if isinstance(old, str) and isinstance(new, str):
            _check_characters(owner.count(old) * len(new))
    elif name == "join":
        filtered = isinstance(owner, list | tuple)
        parts, glue = (owner, args[0] if args else "") if filtered else (args[0] if args else (), owner)
        if isinstance(parts, list | tuple):
            between = len(glue) if isinstance(glue, str) else 0
            _check_characters(sum(len(part) + between for part in parts if isinstance(part, str)))


def _check_format(text: str) -> None:
    if _WIDE_FORMAT.search(text):
        raise TooMuch("the template formats to a huge or a computed width")


def _check_characters(characters: int) -> None:
    if characters > MAXIMUM_CHARACTERS:
        raise TooMuch(f"the template makes a text of more than {MAXIMUM_CHARACTERS:,} characters")


def _measured(value: Any) -> Any:
    if isinstance(value, str):
        _check_characters(len(value))
        _spend(len(value) // _CHARACTERS_OF_A_STEP)
    elif isinstance(value, list | tuple):
        _spend(len(value))
    return value


def _printable(value: Any) -> Any:
    """Pay for every item that printing would visit: one list may hold another many times over."""
    pending, characters = [value], 0
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            characters += len(item)
            _check_characters(characters)
        elif isinstance(item, Mapping):
            _spend(len(item))
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            _spend(len(item))
            pending.extend(item)
    return value
