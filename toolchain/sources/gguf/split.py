"""Models that are split into several GGUF files: which files belong together.

Naming and keys: https://github.com/ggml-org/llama.cpp/blob/master/tools/gguf-split/README.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf, Value

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def split_paths(path: str) -> tuple[str, ...]:
    """All files of a split model in order, given its first file; the file alone if the model is not split.

    Raises:
        UnsupportedGguf: the file is a later part; the first one holds the metadata.
    """
    part = _PART.fullmatch(path)
    if part is None:
        return (path,)
    number, count = int(part["number"]), int(part["count"])
    if number != 1:
        raise UnsupportedGguf(
            f"`{path}` is part {number} of {count}",
            where=path,
            hint=f"name the first one, `{_path(part['stem'], 1, count)}`; the others are taken along",
        )
    return tuple(_path(part["stem"], index, count) for index in range(1, count + 1))


def check_split(metadata: Mapping[str, Value], number: int, count: int, where: str) -> None:
    """Check that a header agrees with its file name about which part it is.

    Args:
        metadata: Metadata of the header.
        number: Number of the part in the file name, from 1.
        count: Number of parts in the file name.
        where: Name of the file, for errors.

    Raises:
        UnsupportedGguf: it is another part, or there is another number of parts.
    """
    claimed = (metadata.get("split.no", 0), metadata.get("split.count", 1) or 1)
    if claimed != (number - 1, count):
        raise UnsupportedGguf(
            f"the file is part {number} of {count} by its name, but calls itself number {claimed[0]} of {claimed[1]}",
            where=where,
            hint="give the files the names that they were published under",
        )


def _path(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number:05d}-of-{count:05d}.gguf"
