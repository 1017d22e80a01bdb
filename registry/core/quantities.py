"""Formats sizes and durations for display."""

from __future__ import annotations

_STEPS = (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000))


def format_bytes(size_bytes: float) -> str:
    """Format a size in decimal units with at most three significant digits: `6.19 MB`, `812 B`."""
    for unit, step in _STEPS:
        if size_bytes >= step * 0.9995:
            return f"{size_bytes / step:.3g} {unit}" if size_bytes < 999.5 * step else f"{size_bytes / step:.0f} {unit}"
    return f"{size_bytes:.0f} B"


def format_seconds(seconds: float) -> str:
    """Format a duration, such as `0.31 s`, `42 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_age(seconds: float) -> str:
    """Format an age by its largest unit, such as `now`, `5 min`, `3 h`, `12 days` or `2 years`."""
    for unit, length in (("year", 365 * 86_400), ("day", 86_400)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h"
    return f"{int(seconds // 60)} min" if seconds >= 60 else "now"
