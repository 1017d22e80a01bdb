"""Collects the referrers of a manifest, their referrers, and so on, whatever the source of the lists is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.oci.remote.referrers import MOST_REFERRERS, LeaveOut


def follow(subject: Digest, bring: Callable[[Digest], Iterable[Digest]], leave_out: LeaveOut) -> tuple[Digest, ...]:
    """The direct and indirect referrers of a manifest, such as a signature and the signature of that.

    Args:
        subject: The manifest.
        bring: Transfers the referrers of one manifest and returns their digests.
        leave_out: Called when there are more than `MOST_REFERRERS`, and the rest is left out.
    """
    found: dict[Digest, None] = {}
    waiting = deque([subject])
    while waiting:
        if len(found) >= MOST_REFERRERS:
            leave_out(
                waiting[0], f"more than {MOST_REFERRERS} manifests refer to {subject}: the rest of them is left out"
            )
            break
        near = [digest for digest in bring(waiting.popleft()) if digest != subject and digest not in found]
        found.update(dict.fromkeys(near))
        waiting.extend(near)
    return tuple(found)
