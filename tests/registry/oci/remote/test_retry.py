"""What is tried again, how often, and with which error it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxbuild.registry.oci.remote.retry import Failure, Patience, retry
from mlxbuild.registry.oci.remote.watch import DUE_BYTES

AT_ONCE = Patience(attempts=3, first_pause_seconds=0, longest_pause_seconds=0, longest_asked_seconds=1)
BUSY = Failure(retryable=True)
SLOW = Failure(retryable=True, is_slow=True)
CORRUPT = Failure(retryable=True, is_corrupt=True)


class Failed(Exception):
    """A failure of a scripted attempt."""

    def __init__(self, number: int, failure: Failure | None) -> None:
        super().__init__(number)
        self.failure = failure


def failing(*failures: Failure | None) -> Callable[[], str]:
    """Attempts that fail so, one after another, and then succeed."""
    script = iter(enumerate(failures))

    def once() -> str:
        for number, failure in script:
            raise Failed(number, failure)
        return "done"

    return once


def classify(error: Exception) -> Failure | None:
    assert isinstance(error, Failed)
    return error.failure


@pytest.mark.parametrize(
    "failures",
    [(), (BUSY, BUSY), (SLOW, BUSY), (CORRUPT, BUSY, BUSY), (Failure(retryable=True, asked_seconds=0.01),)],
)
def test_what_passes_is_tried_again(failures: tuple[Failure, ...]) -> None:
    assert retry(failing(*failures), AT_ONCE, classify) == "done"


@pytest.mark.parametrize(
    ("failures", "last"),
    [
        ((BUSY, BUSY, BUSY), 2),
        ((BUSY, BUSY, SLOW), 2),
        ((SLOW, SLOW), 1),
        ((BUSY, CORRUPT, CORRUPT), 2),
        ((BUSY, Failure(retryable=False)), 1),
        ((None,), 0),
        ((Failure(retryable=True, asked_seconds=2),), 0),
    ],
)
def test_it_ends_with_the_error_of_the_last_attempt(failures: tuple[Failure | None, ...], last: int) -> None:
    with pytest.raises(Failed) as raised:
        retry(failing(*failures), AT_ONCE, classify)
    assert raised.value.args == (last,)


def test_a_connection_that_is_never_made_is_tried_three_times() -> None:
    patient = Patience(attempts=50, first_pause_seconds=0, longest_pause_seconds=0, longest_asked_seconds=1)
    with pytest.raises(Failed) as raised:
        retry(failing(*[Failure(retryable=True, is_unconnected=True)] * 9), patient, classify)
    assert raised.value.args == (2,)


def test_attempts_with_progress_are_not_counted() -> None:
    reached = 0

    def once() -> int:
        nonlocal reached
        reached += DUE_BYTES if reached < 9 * DUE_BYTES else 1
        raise Failed(reached, BUSY)

    with pytest.raises(Failed) as raised:
        retry(once, AT_ONCE, classify, reached=lambda: reached)
    assert raised.value.args == (9 * DUE_BYTES + 3,)


def test_what_is_settled_meanwhile_is_not_tried_again() -> None:
    answers = iter([None, "settled"])
    assert retry(failing(BUSY, BUSY), AT_ONCE, classify, settled=lambda: next(answers)) == "settled"
