"""What refers to a manifest, what refers to that, and so on to the end. How lists are got is not known here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.oci.remote.referrers import MOST_REFERRERS, LeaveOut


def follow(subject: Digest, bring: Callable[[Digest], Iterable[Digest]], leave_out: LeaveOut) -> tuple[Digest, ...]:
    """Everything that speaks of a manifest, directly or through others: a signature, and the signature of that one.

    Args:
        subject: The manifest.
        bring: Brings what refers to one manifest to its place, and tells what that was.
        leave_out: Told when more than `MOST_REFERRERS` were brought, and the rest is not looked for.
    """
    found: dict[Digest, None] = {}
    waiting = deque([subject])
    while waiting:
        if len(found) >= MOST_REFERRERS:
            leave_out(waiting[0], f"more than {MOST_REFERRERS} manifests speak of {subject}: what refers to it stays")
            break
        near = [digest for digest in bring(waiting.popleft()) if digest != subject and digest not in found]
        found.update(dict.fromkeys(near))
        waiting.extend(near)
    return tuple(found)
