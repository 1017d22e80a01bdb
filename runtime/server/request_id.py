"""The id of a request, by which its client and the server's log name it."""

from __future__ import annotations

import re
import uuid

from sanic import Request

ID_HEADER = "X-Request-Id"
_SOUND_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(request: Request) -> str:
    """The id that the client sent, if it is valid, or a new one."""
    known: str | None = getattr(request.ctx, "request_id", None)
    if known is None:
        given = request.headers.get(ID_HEADER.lower(), "")
        known = given if _SOUND_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        request.ctx.request_id = known
    return known
