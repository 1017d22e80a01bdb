"""Programs of other projects that tests check against. What they are used for stands in the tests."""

from __future__ import annotations

import shutil
from typing import NoReturn

from tests import real_parts

_PACKAGES = {
    "go": "golang-go",
    "ip": "iproute2",
    "node": "nodejs",
    "nsenter": "util-linux",
    "sha256sum": "coreutils",
    "unshare": "util-linux",
}
_INSTALLED = {"cargo": "install a Rust toolchain; that of Debian may be too old"}
_BUILT = frozenset({"oras", "cosign", "ollama", "referrers-registry"})
_RELEASED = frozenset({"zot", "modctl"})


def find(name: str) -> str:
    """The path of a program; without it the test ends here (see `tests.real_parts`)."""
    path = shutil.which(name)
    if path is None:
        _miss(name)
    return path


def _miss(name: str) -> NoReturn:
    if name in _RELEASED:
        real_parts.leave_out(name, "put the program of one of its releases on PATH, or into .cache/interop/bin")
    if name in _INSTALLED:
        real_parts.missing(name, _INSTALLED[name])
    real_parts.missing(name, "`make interop`" if name in _BUILT else f"`apt-get install {_PACKAGES.get(name, name)}`")
