"""Sizes as people write them."""

from __future__ import annotations

import pytest

from mlxbuild.registry.core.sizes import FORMS, size_bytes


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("20GB", 20 * 10**9),
        ("10 GB", 10**10),
        ("1.5GiB", 3 * 2**29),
        ("4k", 4000),
        ("512", 512),
        (512, 512),
        (1e3, 1000),
        ("much", None),
        ("10 gigs", None),
        ("-1", None),
        (1.5, None),
        (True, None),
        ([], None),
        ("9" * 400, None),
    ],
)
def test_sizes(written: object, size: int | None) -> None:
    assert size_bytes(written) == size


def test_the_forms_that_errors_name_are_taken() -> None:
    assert all(size_bytes(form.strip("` ")) for form in FORMS.split(","))
