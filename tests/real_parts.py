"""What tests need of others: programs, models, a compiler. Where one is missing its tests are left out, and said so.

CI has to have every part (`MLXBUILD_REQUIRE_REAL_PARTS=1`), so nothing is left out there unnoticed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

_LEFT = "left out, missing: "


def missing(part: str, brought_by: str) -> NoReturn:
    """Fail in CI, else leave the test out.

    Args:
        part: What is not there, such as `skopeo`.
        brought_by: What to do about it, such as `apt-get install skopeo`.
    """
    if os.environ.get("MLXBUILD_REQUIRE_REAL_PARTS") == "1":
        pytest.fail(f"{part} is missing: {brought_by}")
    leave_out(part, brought_by)


def leave_out(part: str, brought_by: str) -> NoReturn:
    """Leave the test out, in CI too: for what comes from nowhere that CI could take it from."""
    pytest.skip(f"{_LEFT}{part} ({brought_by})")


def summary(reasons: Iterable[str]) -> str | None:
    """One line on all tests that were left out for want of a part; None if there are none."""
    parts = Counter(reason.partition(_LEFT)[2] for reason in reasons if _LEFT in reason)
    if not parts:
        return None
    told = "; ".join(f"{count} for {part}" for part, count in parts.most_common())
    tests = "test was" if parts.total() == 1 else "tests were"
    return f"{parts.total()} {tests} left out: {told}. `make test-all` installs what Debian has and runs everything."
