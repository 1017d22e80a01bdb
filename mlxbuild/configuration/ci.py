"""Whether this is a CI job. Nothing else reads the variable CI; what depends on it gets told."""

from __future__ import annotations

import os


def in_ci() -> bool:
    """Whether the variable CI is set, as all services for continuous integration do."""
    return bool(os.environ.get("CI"))
