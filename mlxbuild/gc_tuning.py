"""When Python looks for garbage: for objects that nothing but each other holds."""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_WHILE_STARTING = 100_000


def look_rarely() -> None:
    """For commands: starting up makes many objects and no garbage; looking for it took a tenth of the time."""
    gc.set_threshold(_WHILE_STARTING)


def look_no_more() -> None:
    """For a process that ends: Python would look through everything twice before it lets go of all of it."""
    gc.freeze()


def look_as_usual() -> None:
    """For a process that has started and goes on: connections and runners that have ended are garbage of this kind.

    What is there by now stays for good, and is looked at no more.
    """
    gc.freeze()
    gc.collect()  # by what is left then, Python decides how often it looks through everything
    gc.set_threshold(*_USUAL)
