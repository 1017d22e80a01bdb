"""Encrypts reasoning by a key of this home, for clients that store conversations themselves.

AES-256-GCM with the owner as associated data, so that no client can use another's. The format is `mlxb1_` followed by
the base64 of a nonce of 12 bytes and the ciphertext with its tag.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import secrets
from pathlib import Path

from mlxbuild.registry.core.errors import EnvironmentFailure
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.durable import create_temporary, disk_errors
from mlxbuild.registry.store.errors import StoreFailure
from mlxbuild.runtime.server.logger import log

FILE_NAME = "reasoning.key"
_PREFIX = "mlxb1_"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class ReasoningKeyUnusable(EnvironmentFailure):
    """The file with the key that encrypts reasoning has unexpected contents."""

    code = "reasoning-key-unusable"


class ReasoningSeal:
    """Encrypts by the key of a home, which is created on first use."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def seal(self, owner: str, thought: str) -> str:
        """Encrypt reasoning; the result differs every time.

        Raises:
            ReasoningKeyUnusable: the file of the key has unexpected contents.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key).encrypt(nonce, thought.encode("utf-8", "replace"), owner.encode())
        return _PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, owner: str, sealed: str) -> str | None:
        """Decrypt reasoning; returns None, and logs it, if it has another key or owner, or was changed.

        Raises:
            ReasoningKeyUnusable: the file of the key has unexpected contents.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            if not sealed.startswith(_PREFIX):
                raise ValueError("another form")
            data = base64.b64decode(sealed.removeprefix(_PREFIX), altchars=b"-_", validate=True)
            opened = AESGCM(self._key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], owner.encode())
        except (ValueError, InvalidTag):
            log.warning("reasoning", reason="encrypted reasoning of a request cannot be opened, and is left out")
            return None
        return opened.decode()

    @functools.cached_property
    def _key(self) -> bytes:
        from mlxbuild.registry.trust.keys import folder

        try:
            return _read_or_make(folder(self._home) / FILE_NAME)
        except StoreFailure as error:
            log.warning("reasoning", reason=f"the key for reasoning is kept in memory only: {error.message}")
            return secrets.token_bytes(_KEY_BYTES)


def _read_or_make(file: Path) -> bytes:
    with disk_errors(file):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, new = create_temporary(file.parent, mode=0o600)
            try:
                with os.fdopen(descriptor, "wb") as out:
                    out.write(secrets.token_bytes(_KEY_BYTES))
                    out.flush()
                    os.fsync(descriptor)
                with contextlib.suppress(FileExistsError):  # another server has created it meanwhile
                    os.link(new, file)
            finally:
                new.unlink()
        key = file.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ReasoningKeyUnusable(
            f"the key for reasoning has {len(key)} bytes, not {_KEY_BYTES}",
            where=str(file),
            hint="restore the file; what was encrypted with it cannot be read without it",
        )
    return key
