"""`keep_alive` as requests and settings write it."""

from __future__ import annotations

import pytest

from mlxbuild.runtime.residency.keep_alive import InvalidKeepAlive, KeepAlive


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0),
        (90, 90),
        (1.5, 1.5),
        (-1, None),
        (-0.1, None),
        (10**30, None),
        (float("inf"), None),
        ("5m", 300),
        ("1h30m", 5400),
        ("300ms", 0.3),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("2µs", 2e-6),
        ("+3s", 3),
        ("0", 0),
        ("-1s", None),
        ("-1m", None),
    ],
)
def test_what_is_taken(written: object, seconds: float | None) -> None:
    assert KeepAlive.parse(written).seconds == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "written", ["-1", "5", "", "m", "5 m", "5x", "1h-3m", True, False, None, {}, [], float("nan"), "1" * 400]
)
def test_what_is_refused(written: object) -> None:
    with pytest.raises(InvalidKeepAlive):
        KeepAlive.parse(written)


@pytest.mark.parametrize(("written", "seconds"), [("300", 300), (" 5m ", 300), ("-1", None), ("0", 0)])
def test_settings_need_no_unit(written: str, seconds: float | None) -> None:
    assert KeepAlive.from_setting(written).seconds == seconds
