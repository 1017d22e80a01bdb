"""The table of steps, which plans read, and the steps themselves agree; golden digests ask for a decision."""

from __future__ import annotations

import pytest

from mlxbuild.toolchain.core.steps import STEPS


@pytest.mark.parametrize("kind", STEPS)
def test_the_table_declares_what_the_step_is(kind: str) -> None:
    declared = STEPS[kind]
    step = declared.load()
    assert (step.kind, step.implementation, tuple(step.tools)) == (kind, declared.implementation, declared.tools)
