"""Rewrites numbers in a JSON Schema that llguidance does not read exactly, or rejects them.

llguidance reads numbers as 64-bit floats, and bounds of integers as 64-bit integers. The rewritten bounds never allow
more than the original ones.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts

_EXACT = 2**53
"""All integers up to this one are exact floats."""
_LEAST, _MOST = -(2**63) + 1024, 2**63 - 1
"""Bounds of integers that llguidance accepts: the smallest is the least float whose negation fits in 64 bits."""
_MOST_MULTIPLE = 100_000
"""Maximal number of remainders of `multipleOf`. Compiling takes half a second for 99,991 and twelve for 999,979."""
_SURE_DIGITS, _SURE_EXPONENT = 15, 22
"""Numbers with at most so many digits and such an exponent are always read exactly."""
_MOST_STEPS = 100
"""How many floats to try for one that is read exactly; far from zero there may be none."""
_ALTERNATIVES = frozenset({"$ref", "anyOf", "oneOf"})
"""Keywords whose schemas apply to the same value as the keywords beside them."""
_UPPER, _LOWER = {"maximum": 0, "exclusiveMaximum": -1}, {"minimum": 0, "exclusiveMinimum": 1}
"""Bound keywords of integers, with the step that makes each an inclusive bound."""


def with_exact_numbers(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, without its subschemas, with numbers that llguidance reads exactly.

    Raises:
        FormatNotSupported: there are no such numbers.
    """
    for keyword in ("const", "enum"):
        for number in _numbers(part.get(keyword)):
            _check_value(number, keyword)
    types = part.get("type", ())
    if "integer" in ([types] if isinstance(types, str) else types) and "number" not in types:
        return _with_bounds_of_integers(part)
    bounds = {
        keyword: _inside(part[keyword], math.inf if keyword in _LOWER else -math.inf)
        for keyword in (*_LOWER, *_UPPER)
        if keyword in part and not isinstance(part[keyword], bool)
    }
    return {**part, **bounds}


def check_multiples(schema: Mapping[str, Any]) -> None:
    """Check that `multipleOf` compiles within about a second: values on one number multiply, others add up.

    Raises:
        FormatNotSupported: it does not.
    """
    parts = list(all_parts(schema))
    multiples = {_remainders(part["multipleOf"]) for part in parts if "multipleOf" in part}
    may_meet = any("allOf" in part or (len(part) > 1 and not _ALTERNATIVES.isdisjoint(part)) for part in parts)
    if max(sum(multiples), math.lcm(*multiples) if may_meet else 1) > _MOST_MULTIPLE:
        raise FormatNotSupported(
            f"`multipleOf` is above {_MOST_MULTIPLE:,}, alone or with others, or has too many digits",
            hint="use a smaller one, and multiply the answer",
        )


def _remainders(multiple: int | float) -> int:
    """How many remainders there are, at the number of decimals of the multiple."""
    exact = Decimal(repr(multiple))
    exponent = exact.as_tuple().exponent
    return int(exact.scaleb(-min(int(exponent), 0))) if exact.is_finite() else _MOST_MULTIPLE + 1


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, Mapping):
        yield from _numbers(list(value.values()))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _check_value(number: int | float, keyword: str) -> None:
    if not _is_read_exactly(number):
        raise FormatNotSupported(
            f"the number {number} in `{keyword}` cannot be written exactly", hint="write it as a text"
        )


@functools.lru_cache(10_000)
def _is_read_exactly(number: int | float) -> bool:
    """Whether llguidance writes exactly this number. It is tried if in doubt, as the last digit may be rounded."""
    if isinstance(number, int) and abs(number) < 2**63:
        return float(number) == number
    try:
        written = Decimal(repr(float(number)))
    except OverflowError:
        return False
    if not written.is_finite() or (_is_whole(number) and abs(number) >= 2**63 and written != int(number)):
        return False
    _, digits, exponent = written.as_tuple()
    if len(digits) <= _SURE_DIGITS and abs(int(exponent)) <= _SURE_EXPONENT:
        return True
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(json.dumps({"const": number}))
    matcher = LLMatcher(_bytes(), grammar, log_level=0)
    text = str(int(number)) if _is_whole(number) else format(written, "f")
    return not matcher.is_error() and matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


@functools.cache
def _bytes() -> Any:
    """A vocabulary of bytes, cached because creating it takes longer than a test."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def _is_whole(number: int | float) -> bool:
    return isinstance(number, int) or number.is_integer()


def _with_bounds_of_integers(part: Mapping[str, Any]) -> Mapping[str, Any]:
    lower, upper = _bound(part, _LOWER), _bound(part, _UPPER)
    if lower is None and upper is None:
        return part
    bounds: dict[str, int] = {}
    if lower is not None:
        bounds["minimum"] = _LEAST if lower <= _LEAST <= (upper or 0) else lower
    if upper is not None:
        bounds["maximum"] = _MOST if upper >= _MOST >= (lower or 0) else upper
    if (lower or 0) > _EXACT:  # llguidance has no unbounded ranges there
        bounds.setdefault("maximum", _MOST)
    if (upper or 0) < -_EXACT:
        bounds.setdefault("minimum", _LEAST)
    for keyword, bound in bounds.items():
        if bound != _MOST and not (abs(bound) < 2**63 and _is_read_exactly(bound)):
            raise FormatNotSupported(
                f"`{keyword}` {bound} of an integer cannot be enforced exactly", hint="write it as a text"
            )
    return {**{keyword: value for keyword, value in part.items() if keyword not in (*_LOWER, *_UPPER)}, **bounds}


def _bound(part: Mapping[str, Any], keywords: Mapping[str, int]) -> int | None:
    """The narrower of the two bounds on one side, as an inclusive bound."""
    found: list[int] = []
    for keyword, step in keywords.items():
        bound = part.get(keyword)
        if bound is True:  # in draft 4 it makes the other bound exclusive
            bound = part.get(next(iter(keywords)))
        if bound is None or bound is False:
            continue
        if not math.isfinite(bound):
            raise FormatNotSupported(f"`{keyword}` {bound} is not a number in JSON")
        inward = math.ceil(bound) if keywords is _LOWER else math.floor(bound)
        found.append(inward + step if inward == bound else inward)
    return (max(found) if keywords is _LOWER else min(found)) if found else None


def _inside(bound: int | float, towards: float) -> int | float:
    """The bound, or the next number inside the range that is read exactly."""
    exact = Decimal(repr(bound))
    try:
        near: int | float = bound if isinstance(bound, int) and _is_read_exactly(bound) else float(bound)
    except OverflowError:
        raise FormatNotSupported(f"the bound {bound} is beyond the range of floats") from None
    if not math.isfinite(near):
        raise FormatNotSupported(f"the bound {bound} is not a number in JSON")
    for _ in range(_MOST_STEPS):
        if not math.isfinite(near) or (_is_inside(near, exact, towards) and _is_read_exactly(near)):
            break
        after = math.nextafter(near, towards)
        near = int(after) if after.is_integer() else after
    else:
        near = math.inf
    if not math.isfinite(near):
        raise FormatNotSupported(
            f"the bound {bound} cannot be enforced: no number near it can be represented exactly",
            hint="choose one that is closer to zero, or leave it out",
        )
    return near


def _is_inside(near: int | float, exact: Decimal, towards: float) -> bool:
    """Whether a number is inside the bound, both exactly and in its shortest decimal form as a float."""
    shortest = Decimal(repr(float(near)))
    both = (Decimal(near) if _is_whole(near) else shortest, shortest)
    return all(each >= exact if towards > 0 else each <= exact for each in both)
