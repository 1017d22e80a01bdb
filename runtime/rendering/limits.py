"""The limits of one rendering. They are told with each request, so both sides know them: nothing is imported here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What compiling and rendering a template once may take."""

    seconds: float = 1.0
    """Of processor time. Half as much again, and the process is ended by the system."""
    steps: int = 4_000_000
    """Loop rounds, items of lists made or printed, and calls, which count for ten."""
    characters: int = 16 * 1024 * 1024
    """Of the whole prompt, and of any text made on the way."""
    made_bytes: int = 1024 * 1024 * 1024
    """Memory of all texts from 1 KiB on that are made on the way, whether they are kept or not."""
    bits: int = 4096
    """Of any integer."""
