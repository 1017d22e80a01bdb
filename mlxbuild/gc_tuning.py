"""Tunes Python's cyclic garbage collector."""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_WHILE_STARTING = 100_000


def look_rarely() -> None:
    """Collect rarely, for commands: startup makes many objects and no garbage, and collection took a tenth of it."""
    gc.set_threshold(_WHILE_STARTING)


def look_no_more() -> None:
    """Stop collecting, for a process that exits: Python would scan all objects twice before it frees them."""
    gc.freeze()


def look_as_usual() -> None:
    """Collect normally, for a server after its startup: closed connections and ended runners are cyclic garbage.

    The objects that exist now are permanent, and excluded from collections.
    """
    gc.freeze()
    gc.collect()  # the objects left after it determine how often Python runs a full collection
    gc.set_threshold(*_USUAL)
