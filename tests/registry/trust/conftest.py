"""What the tests of trust share: two keys, and a way to run OpenSSL."""

from __future__ import annotations

import pytest

from mlxbuild.registry.trust.keys import PrivateKey, generate


@pytest.fixture(scope="session")
def key() -> PrivateKey:
    """The key that is trusted."""
    return generate()


@pytest.fixture(scope="session")
def other_key() -> PrivateKey:
    """A key of somebody else."""
    return generate()
