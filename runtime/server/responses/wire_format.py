"""What an API decides about the format of its errors and streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.server.failures import HttpFailure
from mlxbuild.runtime.server.responses.schemas import Schema


@dataclass(frozen=True, slots=True)
class WireFormat:
    """The format of an API's errors and streams."""

    error_body: Callable[[HttpFailure, str], Mapping[str, Any]]
    """The JSON of an error; the string is the request's id."""
    error_schema: Schema
    """The JSON Schema of `error_body`."""
    stream_error: Callable[[HttpFailure, str], bytes]
    """The bytes that report an error in the middle of a stream."""
    stream_type: str
    """The content type of streams."""
