"""Where each of a server's settings was set, so that a hint names the place to change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SettingOrigins:
    """The places where settings were set, for hints."""

    before_the_file: Mapping[str, str] = field(default_factory=dict)
    """The environment variable or option of each setting that has its value from one, as it overrides config.yaml."""

    def of(self, name: str) -> str:
        """The place of a setting, to follow its name in a hint: `in config.yaml`, or in what overrides it."""
        return f"in {self.before_the_file.get(name, 'config.yaml')}"

    def raising(self, name: str) -> str:
        """What to do for more of a setting: raise it at its place, or start the server with another option."""
        origin = self.before_the_file.get(name, "")
        if origin.startswith("--"):
            return f"start the server with a larger {origin}"
        return f"raise `serve.{name}` {self.of(name)}"
