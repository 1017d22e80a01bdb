"""The server's API keys, of which the home stores hashes; they are compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.errors import EnvironmentFailure, UserError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.durable import replace_file

FILE_NAME = "api-keys.json"
_PREFIX = "mlxb_"
_RANDOM_BYTES = 32
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class InvalidKeyName(UserError):
    """The name of an API key is taken, unknown or invalid."""

    code = "invalid-key-name"


class BrokenKeyFile(EnvironmentFailure):
    """The file of API keys is damaged; until it is repaired, every key is refused."""

    code = "broken-key-file"

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(
            f"the server's API keys cannot be read: {reason}",
            where=str(file),
            hint="restore the file, or move it away and create new keys with `mlxbuild config add-key NAME`",
        )


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The stored entry of a key, without the secret."""

    name: str
    sha256: str
    """The hash of the whole key in hexadecimal; a key has 256 random bits, so it needs no slower hash."""
    created_at: str


class KeyRing:
    """The keys of a home. Changes of the file take effect at once."""

    def __init__(self, home: Home) -> None:
        self._file = home.root / FILE_NAME
        self._temporary = home.cache / "tmp"
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self._fault: str | None = None

    def keys(self) -> tuple[ApiKey, ...]:
        """All keys.

        Raises:
            BrokenKeyFile: the file cannot be read.
        """
        try:
            status = self._file.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, ()
            return ()
        except OSError as error:
            raise BrokenKeyFile(self._file, str(error)) from None
        seen = (status.st_mtime_ns, status.st_size, status.st_mode)
        if seen != self._seen:
            try:
                self._keys, self._fault = _read(self._file), None
            except ValueError as error:
                self._keys, self._fault = (), str(error)
            self._seen = seen
        if self._fault is not None:
            raise BrokenKeyFile(self._file, self._fault)
        return self._keys

    def name_of(self, key: str) -> str | None:
        """The name of a key; None if it is unknown. The time does not depend on which key it is."""
        digest = _hash(key)
        found = None
        for each in self.keys():
            if hmac.compare_digest(each.sha256, digest):
                found = each.name
        return found

    def add(self, name: str) -> str:
        """Create a key and return it; the key itself is not stored.

        Raises:
            InvalidKeyName: the name is invalid or taken.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidKeyName(
                f"`{name}` is not a valid name for a key", hint="use letters, digits, `.`, `_`, `@` and `-`"
            )
        keys = self.keys()
        if any(each.name == name for each in keys):
            raise InvalidKeyName(f"there is a key of the name `{name}` already", hint="remove it first")
        key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write((*keys, ApiKey(name, _hash(key), now)))
        return key

    def remove(self, name: str) -> None:
        """Remove a key; requests with it are refused from now on.

        Raises:
            InvalidKeyName: there is no key of that name.
        """
        keys = self.keys()
        kept = tuple(each for each in keys if each.name != name)
        if len(kept) == len(keys):
            raise InvalidKeyName(f"there is no key `{name}`", hint="`mlxbuild config keys` lists them")
        self._write(kept)

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        entries = [{"name": key.name, "sha256": key.sha256, "created_at": key.created_at} for key in keys]
        replace_file(self._file, json.dumps(entries, indent=2).encode() + b"\n", temporary_folder=self._temporary)
        self._file.chmod(0o600)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _read(file: Path) -> tuple[ApiKey, ...]:
    """Read the keys in a file.

    Raises:
        ValueError: the file is damaged; the message says how.
    """
    try:
        entries: Any = json.loads(file.read_bytes())
    except (OSError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(entries, list):
        raise ValueError("it is not a list of keys")
    return tuple(_key(each) for each in entries)


def _key(entry: Any) -> ApiKey:
    if not isinstance(entry, dict) or not entry.keys() >= {"name", "sha256", "created_at"}:
        raise ValueError("an entry in it is not a key")
    key = ApiKey(str(entry["name"]), str(entry["sha256"]), str(entry["created_at"]))
    if _SHA256.fullmatch(key.sha256) is None:
        raise ValueError(f"the hash of the key `{key.name}` is not a SHA-256")
    return key
