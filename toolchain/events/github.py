"""A sink for GitHub Actions: plain lines, with errors and warnings as annotations on the recipe's line."""

from __future__ import annotations

import re

from mlxbuild.toolchain.events.model import Failed
from mlxbuild.toolchain.events.plain import PlainLines

_POSITION = re.compile(r"(?P<file>[^:]+):(?P<line>\d+)(?::(?P<column>\d+))?")


class GithubAnnotations(PlainLines):
    """Workflow commands (`::error file=…,line=…,col=…::message`) in place of error and warning lines."""

    def warning(self, message: str, where: str | None) -> None:
        """Annotate a warning."""
        self._annotate("warning", message, where)

    def failure(self, event: Failed) -> None:
        """Annotate an error."""
        message = f"{event.code}: {event.message}"
        self._annotate("error", f"{message}\nhint: {event.hint}" if event.hint else message, event.where)

    def _annotate(self, level: str, message: str, where: str | None) -> None:
        place = ""
        match = _POSITION.fullmatch(where or "")
        if match:
            column = f",col={match['column']}" if match["column"] else ""
            place = f" file={_escape(match['file'], in_property=True)},line={match['line']}{column}"
        elif where:
            message = f"{message}\n--> {where}"
        self.line(f"::{level}{place}::{_escape(message)}")


def _escape(text: str, *, in_property: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if in_property else text
