"""Did you mean: the known words that are closest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable

CLOSE_ENOUGH = 0.6


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word` (Ratcliff/Obershelp, `difflib`), the first of equals, or None."""
    from difflib import SequenceMatcher  # only people who mistyped pay for it

    best, best_ratio = None, CLOSE_ENOUGH
    for candidate in known:
        ratio = SequenceMatcher(None, word.lower(), candidate.lower()).ratio()
        if ratio > best_ratio or (best is None and ratio == best_ratio):
            best, best_ratio = candidate, ratio
    return best


def nearest(word: str, known: Iterable[str], *, most: int = 3, close_enough: float = CLOSE_ENOUGH) -> list[str]:
    """The known words that are like `word`, the closest first."""
    from difflib import get_close_matches

    return get_close_matches(word, list(known), n=most, cutoff=close_enough)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The hint "did you mean `x`?", or None when nothing is close."""
    found = closest(word, known)
    return None if found is None else f"did you mean `{found}`?"


def listed(words: Iterable[str]) -> str:
    """Words in backquotes, joined by commas."""
    return ", ".join(f"`{word}`" for word in words)


def few(words: Iterable[str], most: int = 3) -> str:
    """The first of many words in backquotes, and how many more there are."""
    said = list(words)
    more = f" and {len(said) - most} more" if len(said) > most else ""
    return listed(said[:most]) + more


def either(words: Iterable[object]) -> str:
    """`a`, or `one of a, b, c`."""
    said = [str(word) for word in words]
    return said[0] if len(said) == 1 else f"one of {', '.join(said)}"


def joined(hints: Iterable[str | None]) -> str:
    """Several hints in one, where a question is a sentence of its own."""
    told = ""
    for hint in filter(None, hints):
        if told.endswith("?"):
            hint = f" {hint[:1].upper()}{hint[1:]}"
        elif told:
            hint = f"; {hint}"
        told += hint
    return told


def any_of(words: Iterable[str]) -> str:
    """Words in backquotes for a question: `a`, `b` or `c`."""
    *first, last = (f"`{word}`" for word in words)
    return f"{', '.join(first)} or {last}" if first else last
