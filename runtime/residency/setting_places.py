"""Where a server's settings were written, so that a hint names the place that counts. What they say lives elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SettingPlaces:
    """Places of settings, for hints to change them."""

    before_the_file: Mapping[str, str] = field(default_factory=dict)
    """The variable or option of each setting that has its value from one: the file could not change it."""

    def of(self, name: str) -> str:
        """To follow the name of a setting: `in config.yaml`, or in what comes before it."""
        return f"in {self.before_the_file.get(name, 'config.yaml')}"
