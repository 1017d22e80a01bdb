"""What has become of other processes, which may end between two questions."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil


def has_ended(process_id: int) -> bool:
    """Whether nothing of a process runs any more."""
    try:
        return psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ends(process_id: int) -> bool:
    """Whether a process has ended, or does so within half a minute."""
    for _ in range(600):
        if has_ended(process_id):
            return True
        time.sleep(0.05)
    return False


def children(word: str, process_id: int | None = None) -> list[psutil.Process]:
    """The living children of a process (default: this one) that have a word in their command."""
    found = []
    for child in psutil.Process(process_id).children():
        with suppress(psutil.NoSuchProcess):  # so are zombies
            if word in child.cmdline():
                found.append(child)
    return found
