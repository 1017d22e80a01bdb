"""Reads and writes ModelSpec.lock: the written form is canonical, and reading is strict and fast.

JSON-compatible YAML: a header of two comments, then JSON with one file or tensor per line, sorted. The second comment
holds the sha256 of the JSON, so a merge that mixed two locks without a conflict is detected like any other edit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from mlxbuild.registry.artifact.files import collisions, unsafe
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.core.errors import EnvironmentFailure, Location
from mlxbuild.registry.store.durable import replace_file
from mlxbuild.registry.store.errors import DiskFull, StoreFailure
from mlxbuild.toolchain.core.lock import Lock, LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.core.lock_errors import DamagedLock, LockMissing
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.weights.formats.gguf_types import TYPES_BY_NAME
from mlxbuild.toolchain.weights.safetensors import DTYPE_SIZES

LOCK_NAME = "ModelSpec.lock"
LOCK_VERSION = 1

_LIMIT_BYTES = 64 * 1024 * 1024
_HEADER = re.compile(r"# [^\n]*\n# checksum (sha256:[0-9a-f]{64})\n")
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: |$)", re.MULTILINE)
_KINDS = ("artifact", "content", "folder", "hub", "ollama")
_COMMIT = re.compile("[0-9a-f]{40}")
_DERIVED = "derived"
_AGAIN = "run `mlxbuild lock`"


class LockUnwritable(EnvironmentFailure):
    """The lock cannot be written beside its recipe."""

    code = "lock-unwritable"


def lock_path(recipe: Path) -> Path:
    """The path of a recipe's lock: `ModelSpec.lock` beside `ModelSpec.yaml`, `x.lock` beside `x.yaml`."""
    return recipe.with_suffix(".lock")


def read(path: Path) -> Lock:
    """Read a lock file and validate every value.

    Raises:
        LockMissing: there is no such file.
        DamagedLock: it is not as it was generated.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise LockMissing("there is no lock beside the recipe", where=str(path), hint=_AGAIN) from None
    except OSError as error:
        raise DamagedLock(f"the lock cannot be read: {error.strerror}", where=str(path), hint=_AGAIN) from error
    return decode(data, str(path))


def readable(path: Path) -> Lock | None:
    """The existing lock that a new one is based on; None if it is missing or damaged."""
    try:
        return read(path)
    except (LockMissing, DamagedLock):
        return None


def write(path: Path, lock: Lock) -> bool:
    """Write a lock atomically; returns whether the file changed.

    Raises:
        DiskFull, LockUnwritable: the file is unchanged.
    """
    data = encode(lock)
    try:
        if path.exists() and path.read_bytes() == data:
            return False
        replace_file(path, data, temporary_folder=path.parent)
    except DiskFull:
        raise
    except (StoreFailure, OSError) as error:
        raise LockUnwritable(
            "the lock cannot be written", where=str(path), hint="check the owner of the recipe's folder"
        ) from error
    return True


def encode(lock: Lock) -> bytes:
    """The canonical bytes of a lock."""
    sources = _block("[", "]", (_source(source) for source in _by_role(lock.sources)), 2)
    lines = (f'"lock_version": {LOCK_VERSION}', f'"spec_digest": "{lock.spec_digest}"', f'"sources": {sources}')
    body = _block("{", "}", lines, 0) + "\n"
    checksum = Digest.of_bytes(body.encode())
    return f"# Generated, do not edit; run `mlxbuild lock`.\n# checksum {checksum}\n{body}".encode()


def lock_digest(lock: Lock) -> Digest:
    """The sha256 of a lock's canonical bytes."""
    return Digest.of_bytes(encode(lock))


def decode(data: bytes, where: str) -> Lock:
    """Parse the bytes of a lock.

    Args:
        data: The file's content; line endings changed by an editor or git do not matter.
        where: Name of the file, for errors.

    Raises:
        DamagedLock: it is not as it was generated.
    """
    if len(data) > _LIMIT_BYTES:
        _damaged(f"the lock is larger than {_LIMIT_BYTES} bytes", where)
    try:
        text = data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        _damaged("the lock is not UTF-8", where)
    if conflict := _CONFLICT.search(text):
        line = text.count("\n", 0, conflict.start()) + 1
        raise DamagedLock("the lock has conflict markers of a merge", where=Location(where, line), hint=_AGAIN)
    header = _HEADER.match(text)
    if header is None:
        _damaged("the lock lacks its header", where)
    body = text[header.end() :]
    if str(Digest.of_bytes(body.encode())) != header[1]:
        _damaged("the lock was edited, merged or cut short: its checksum does not match", where)
    try:
        entries = json.loads(body)
        version = entries["lock_version"]
        if version != LOCK_VERSION:
            _damaged(f"the lock has version {version!r}, and this mlxbuild reads version {LOCK_VERSION}", where)
        sources = tuple(_read_source(entry) for entry in entries["sources"])
        roles = [source.role for source in sources]
        _require(roles == sorted(set(roles)), "the roles are not distinct and sorted")
        return Lock(Digest.parse(entries["spec_digest"]), sources)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, InvalidDigest) as error:
        _damaged(f"the lock is malformed ({error})", where)


def _by_role(sources: Iterable[LockedSource]) -> list[LockedSource]:
    return sorted(sources, key=lambda source: source.role)


def _source(source: LockedSource) -> str:
    fields = {
        "role": source.role,
        "kind": source.kind,
        "identity": source.identity,
        "requested": source.requested,
        "pinned": source.pinned,
        "include": list(source.include),
    }
    if source.gguf is not None:
        fields |= {"gguf": source.gguf, "header": str(source.header)}
    lines = [f'"{name}": {_json(value)}' for name, value in fields.items()]
    files = (
        f"{_json(file.path)}: {_json([str(file.blob.digest), file.blob.size_bytes, *([_DERIVED] * file.derived)])}"
        for file in sorted(source.files, key=lambda file: file.path)
    )
    tables: dict[str, list[str]] = {}
    for tensor in sorted(source.tensors, key=lambda tensor: (tensor.file, tensor.name)):
        shape = ", ".join(map(str, tensor.shape))
        changes = _changes(tensor)
        change = f", {_json(changes)}" if changes else ""
        row = f"[{_json(tensor.dtype)}, [{shape}], {tensor.begin}, {tensor.size_bytes}{change}]"
        tables.setdefault(tensor.file, []).append(f"{_json(tensor.name)}: {row}")
    tensors = (f"{_json(file)}: {_block('{', '}', rows, 8)}" for file, rows in tables.items())
    lines += [f'"files": {_block("{", "}", files, 6)}', f'"tensors": {_block("{", "}", tensors, 6)}']
    return _block("{", "}", lines, 4)


def _changes(tensor: LockedTensor) -> dict[str, Any]:
    """The changes that the GGUF converter made to a tensor; empty if there are none."""
    permuted = {} if tensor.permuted_heads is None else {"permuted_heads": tensor.permuted_heads}
    return permuted | ({} if tensor.offset == 0 else {"offset": tensor.offset})


def _block(begin: str, end: str, lines: Iterable[str], indent: int) -> str:
    inner = ",\n".join(" " * (indent + 2) + line for line in lines)
    return f"{begin}\n{inner}\n{' ' * indent}{end}" if inner else begin + end


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # one encoder for thousands of rows


def _read_source(entry: dict[str, Any]) -> LockedSource:
    role, kind, identity, pinned = entry["role"], entry["kind"], entry["identity"], entry["pinned"]
    requested, include = entry["requested"], entry["include"]
    _require(isinstance(role, str) and isinstance(identity, str) and kind in _KINDS, "a source has no proper name")
    _require(requested is None or isinstance(requested, str), "a requested revision is not a text")
    _require(all(isinstance(glob, str) for glob in include), "an include glob is not a text")
    _require(_pinned(kind, pinned), f"`{role}` is not pinned as a {kind} source is")
    files = []
    sizes = {}
    gguf, header = entry.get("gguf"), entry.get("header")
    derives = gguf is not None or kind == "ollama"
    parts = () if gguf is None else split_paths(gguf)
    _require(all(part in entry["files"] for part in parts), "the GGUF file, or a part of it, is not among the files")
    for path, (digest, size_bytes, *mark) in entry["files"].items():
        _require(not unsafe(path), f"the path {path!a} is not safe")
        _require(type(size_bytes) is int and size_bytes >= 0, f"`{path}` has no size")
        _require(mark == [] or (mark == [_DERIVED] and derives), f"`{path}` has an unknown flag")
        files.append(LockedFile(path, Blob(Digest.parse(digest), size_bytes), derived=bool(mark)))
        sizes[path] = size_bytes
    _require(not collisions(sizes), "two paths are one file on systems that ignore case")
    size_of = _safetensors_bytes if gguf is None else _gguf_bytes
    tensors = [
        tensor
        for file, table in entry["tensors"].items()
        for tensor in _read_tensors(file, sizes[file], table, size_of)
    ]
    return LockedSource(
        role=role,
        kind=kind,
        identity=identity,
        requested=requested,
        pinned=pinned,
        files=tuple(files),
        tensors=tuple(tensors),
        include=tuple(include),
        gguf=gguf,
        header=None if gguf is None else Digest.parse(str(header)),
    )


def _safetensors_bytes(dtype: str, numbers: int) -> int:
    return numbers * DTYPE_SIZES[dtype]


def _gguf_bytes(dtype: str, numbers: int) -> int:
    kind = TYPES_BY_NAME[dtype]
    return numbers // kind.block_numbers * kind.block_bytes


def _read_tensors(
    file: str, file_bytes: int, table: dict[str, Any], size_of: Callable[[str, int], int]
) -> Iterable[LockedTensor]:
    for name, (dtype, shape, begin, size_bytes, *changes) in table.items():
        whole = type(begin) is int and type(size_bytes) is int and all(type(length) is int for length in shape)
        if not whole or begin < 0 or size_bytes < 0 or begin + size_bytes > file_bytes or min(shape, default=0) < 0:
            raise ValueError(f"the tensor `{name}` does not lie in `{file}`")
        if size_of(dtype, math.prod(shape)) != size_bytes:
            raise ValueError(f"the tensor `{name}` has another size than its shape")
        yield LockedTensor(name, dtype, tuple(shape), file, begin, size_bytes, **_read_changes(changes))


def _read_changes(written: list[Any]) -> dict[str, Any]:
    if not written:
        return {}
    (changes,) = written
    heads, offset = changes.get("permuted_heads"), changes.get("offset", 0.0)
    _require(changes.keys() <= {"permuted_heads", "offset"}, "a tensor is changed in a way that is not known")
    _require(heads is None or (type(heads) is int and heads > 0), "`permuted_heads` is not a count")
    _require(type(offset) is float and math.isfinite(offset), "`offset` is not a number")
    return {"permuted_heads": heads, "offset": offset}


def _pinned(kind: str, pinned: object) -> bool:
    if kind in ("folder", "content"):
        return pinned is None
    if not isinstance(pinned, str):
        return False
    return bool(_COMMIT.fullmatch(pinned)) if kind == "hub" else bool(Digest.parse(pinned))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _damaged(message: str, where: str) -> NoReturn:
    raise DamagedLock(message, where=where, hint=_AGAIN)
