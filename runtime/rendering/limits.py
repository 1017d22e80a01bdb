"""The limits of one rendering, which every request carries; both sides import this file, so it imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on compiling and rendering a template once."""

    seconds: float = 1.0
    """Processor time; after half as much again the system kills the process."""
    steps: int = 4_000_000
    """Loop iterations, list items created or printed, and calls, which count as ten each."""
    characters: int = 16 * 1024 * 1024
    """The length of the prompt, and of any string created on the way."""
    made_bytes: int = 1024 * 1024 * 1024
    """The total memory of all strings of 1 KiB or more that are created on the way, whether they are kept or not."""
    bits: int = 4096
    """The size of any integer."""
