"""Parses the head of a request strictly, and refuses what two parsers might read differently (RFC 9110, RFC 9112)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser, parse_url

from mlxbuild.runtime.server.authority import Authority
from mlxbuild.runtime.server.failures import (
    ExpectationFailed,
    MalformedRequest,
    NoSuchMethod,
    TransferCodingNotSupported,
    VersionNotSupported,
)

_VERSIONS = ("1.1", "1.0")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_REQUEST_LINE = re.compile(rb"(?P<method>[A-Z]+) (?:https?://[!-.0-~]*)?(?P<path>/[!-~]*) HTTP/")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The request line and the header fields of a request."""

    method: str
    target: str
    """Path and query, or `*`."""
    version: str
    """`1.1` or `1.0`."""
    fields: tuple[tuple[str, str], ...]
    """The header fields with lowercase names; `host` is taken from the target if that has one."""
    content_length: int | None
    """The length of the body in bytes; None if there is no body, or a chunked one."""
    is_chunked: bool
    keeps_alive: bool
    """Whether another request may follow on the connection."""
    expects_continue: bool
    """Whether the client waits for `100 Continue` before it sends the body."""


def read_head(data: bytes) -> RequestHead:
    """Parse a head, which ends with its empty line.

    Raises:
        MalformedRequest: the head is invalid.
        NoSuchMethod: the method is unknown.
        VersionNotSupported: the version is not HTTP/1.
        TransferCodingNotSupported, ExpectationFailed: the request asks for something that is not supported.
    """
    read = _Read()
    read.parser = parser = HttpRequestParser(read)
    try:
        parser.feed_data(data)
    except HttpParserUpgrade:
        pass  # a server may ignore a request to upgrade to another protocol
    except HttpParserInvalidMethodError:
        raise NoSuchMethod("the method is not one of HTTP's") from None
    except HttpParserError as error:
        if re.match(rb"[A-Z]+ \S+ HTTP/(?!1\.\d)\d", data):
            raise VersionNotSupported("only HTTP/1.1 and HTTP/1.0 are supported") from None
        raise MalformedRequest(f"the request is not valid HTTP: {error}") from None
    version = parser.get_http_version()
    if version not in _VERSIONS:
        raise VersionNotSupported(f"HTTP/{version} is not supported")
    method = parser.get_method().decode("ascii")
    authority, target = _target(read.url, method)
    fields = [(name.decode("ascii").lower(), value.decode("utf-8", "surrogateescape")) for name, value in read.fields]
    hosts = [value for name, value in fields if name == "host"]
    host = _host(hosts, authority, is_needed=version == "1.1")
    is_chunked = _is_chunked([value for name, value in fields if name == "transfer-encoding"], version)
    lengths = [value for name, value in fields if name == "content-length"]
    expectations = [value.lower() for name, value in fields if name == "expect"]
    if version == "1.1" and any(each != "100-continue" for each in expectations):
        raise ExpectationFailed("`Expect` can only be `100-continue`")
    others = [(name, value) for name, value in fields if name != "host"]
    return RequestHead(
        method,
        target,
        version,
        (("host", host), *others) if host is not None else tuple(others),
        int(lengths[0]) if lengths else None,
        is_chunked,
        read.keeps_alive,
        bool(expectations) and version == "1.1",
    )


def told_request_line(data: bytes) -> tuple[str, str]:
    """Method and target of an invalid or incomplete head, as far as they are known; `-` and `*` otherwise."""
    match = _REQUEST_LINE.match(data)
    if match is None:
        return "-", "*"
    try:
        parse_url(match["path"])
    except HttpParserError:
        return match["method"].decode("ascii"), "*"
    return match["method"].decode("ascii"), match["path"].decode("ascii")


class _Read:
    """The callbacks of the parser, with the results so far."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.keeps_alive = False
        self.parser: HttpRequestParser

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.keeps_alive = self.parser.should_keep_alive()  # forgotten at the end of a request without a body


def _target(url: bytes, method: str) -> tuple[str | None, str]:
    """The authority in a target, if there is one, and the target's path and query."""
    if url == b"*" and method == "OPTIONS":
        return None, "*"
    try:
        parts: Any = parse_url(url)
    except HttpParserError:
        raise MalformedRequest("the request's target is not a URL") from None
    path = parts.path or b"/"
    if not path.startswith(b"/") or parts.userinfo is not None:
        raise MalformedRequest("the request's target is neither a path nor an HTTP URL")
    _check_path(path)
    target = path if parts.query is None else path + b"?" + parts.query
    if parts.schema is None:
        return None, target.decode("ascii")
    if parts.schema.lower() not in (b"http", b"https"):
        raise MalformedRequest("the request's target is not an HTTP URL")
    return url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0].decode("ascii"), target.decode("ascii")


def _check_path(path: bytes) -> None:
    """Check that the percent escapes of a path are valid, and decode to UTF-8 without control characters."""
    if _BAD_ESCAPE.search(path):
        raise MalformedRequest("a percent sign in the path is not followed by two hexadecimal digits")
    try:
        text = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("the path is not UTF-8") from None
    if _CONTROL.search(text):
        raise MalformedRequest("the path has control characters")


def _host(written: list[str], authority: str | None, *, is_needed: bool) -> str | None:
    """The host of a request (RFC 9112, section 3.2): there must be one, and the target's overrides the header's."""
    if len(written) > 1 or (is_needed and not written):
        raise MalformedRequest("there has to be one `Host` header")
    for each in (*written, *([] if authority is None else [authority])):
        if Authority.parse(each) is None:
            raise MalformedRequest("the `Host` is not a name or address, with or without a port")
    return authority if authority is not None else written[0] if written else None


def _is_chunked(codings: list[str], version: str) -> bool:
    if codings and version == "1.0":
        raise MalformedRequest("HTTP/1.0 has no `Transfer-Encoding`")
    if codings and [each.lower() for each in codings] != ["chunked"]:
        raise TransferCodingNotSupported("the only `Transfer-Encoding` that is understood here is `chunked`")
    return bool(codings)
