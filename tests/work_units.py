"""What parallel workers are given: a module at a time, or a folder whose modules share what takes long to make."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/clients/", "tests/mlxbuild/serving/", "tests/real/")
"""Each has fixtures for the whole folder: a built home and a server over it."""


class WorkUnits(LoadScopeScheduling):
    """`--dist loadscope` with these folders as one scope each."""

    def _split_scope(self, nodeid: str) -> str:
        folder = next((folder for folder in TOGETHER if nodeid.startswith(folder)), None)
        return folder or super()._split_scope(nodeid)
