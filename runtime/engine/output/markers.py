"""Finds markers in text that arrives in pieces. The caller decides what a marker means."""

from __future__ import annotations

from collections.abc import Sequence


class MarkerSearch:
    """Searches for the first of some markers, and holds back text that may be the beginning of one."""

    def __init__(self, markers: Sequence[str]) -> None:
        self.markers = tuple(markers)
        """May be changed between two pieces."""
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Add text; returns the text that is certain now, and the marker that follows it, if one is complete.

        Text after a found marker is held back: feed an empty text to continue.
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
        """The text that is still held back."""
        held, self._held = self._held, ""
        return held

    def _longest_beginning(self, text: str) -> int:
        longest = max((len(marker) for marker in self.markers), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(marker.startswith(text[-length:]) for marker in self.markers):
                return length
        return 0
