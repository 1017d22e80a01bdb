"""Finds marker texts in a text that comes piece by piece. What a marker means is decided by those who look for it."""

from __future__ import annotations

from collections.abc import Sequence


class MarkerSearch:
    """Looks for the first of some markers, and holds back text that may be the beginning of one."""

    def __init__(self, markers: Sequence[str]) -> None:
        self.markers = tuple(markers)
        """May be changed between two pieces."""
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Take more text; returns the text that is certain now, and the marker that follows it, if one is complete.

        What comes after a found marker stays held: feed an empty text to go on.
        """
        text = self._held + text
        found = [(place, -len(marker), marker) for marker in self.markers if (place := text.find(marker)) >= 0]
        if found:
            place, _, marker = min(found)
            self._held = text[place + len(marker) :]
            return text[:place], marker
        certain = len(text) - self._longest_beginning(text)
        self._held = text[certain:]
        return text[:certain], None

    def finish(self) -> str:
        """What is still held back, as plain text."""
        held, self._held = self._held, ""
        return held

    def _longest_beginning(self, text: str) -> int:
        longest = max((len(marker) for marker in self.markers), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(marker.startswith(text[-length:]) for marker in self.markers):
                return length
        return 0
