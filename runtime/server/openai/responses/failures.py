"""Errors of requests for responses or items that are not stored, or no longer."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError

_HINT = "responses are kept for a while, in memory: send the whole conversation as input, with `store` set to false"


class UnknownResponse(UserError):
    """A response is not stored: it expired, `store` was false, the server restarted, or it has another API key."""

    code = "unknown-response"


class UnknownPreviousResponse(UserError):
    """The previous response of a request is not stored, or one that it continues is not."""

    code = "unknown-previous-response"


class UnknownItem(UserError):
    """The input refers to an item that is in no stored response."""

    code = "unknown-item"


def unknown_response(response_id: str) -> UnknownResponse:
    """The error of a request for a response that is not stored."""
    return UnknownResponse(f"no response `{response_id}` is kept", hint=_HINT)


def unknown_previous_response(response_id: str, missing: str) -> UnknownPreviousResponse:
    """The error of a previous response; `missing` is its id, or that of an earlier one that it continues."""
    told = f"no response `{response_id}` is kept"
    if missing != response_id:
        told = f"`{response_id}` cannot be continued: the earlier response `{missing}` is not kept any more"
    return UnknownPreviousResponse(told, where="previous_response_id", hint=_HINT)


def unknown_item(item_id: str, where: str) -> UnknownItem:
    """The error of a reference to an item; `where` is the reference's field."""
    return UnknownItem(f"no item `{item_id}` is kept", where=where, hint=_HINT)
