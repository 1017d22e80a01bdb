"""What is asked for of an earlier response, and not kept here (any more)."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError

_HINT = "responses are kept for a while, in memory: send the whole conversation as input, with `store` set to false"


class UnknownResponse(UserError):
    """A response is not kept: it is too old, `store` was false, the server began anew, or it is of another API key."""

    code = "unknown-response"


class UnknownPreviousResponse(UserError):
    """A response is to go on after one that is not kept, or whose own beginning is not."""

    code = "unknown-previous-response"


class UnknownItem(UserError):
    """The input refers to an item of a response that is not kept."""

    code = "unknown-item"


def unknown_response(response_id: str) -> UnknownResponse:
    """The error of a response that is asked for."""
    return UnknownResponse(f"no response `{response_id}` is kept", hint=_HINT)


def unknown_previous_response(response_id: str, missing: str) -> UnknownPreviousResponse:
    """The error of a response that another one is to go on after; `missing` is itself, or one that it goes on from."""
    told = f"no response `{response_id}` is kept"
    if missing != response_id:
        told = f"`{response_id}` cannot be gone on from: the earlier response `{missing}` is not kept any more"
    return UnknownPreviousResponse(told, where="previous_response_id", hint=_HINT)


def unknown_item(item_id: str, where: str) -> UnknownItem:
    """The error of a reference that stands at that place."""
    return UnknownItem(f"no item `{item_id}` is kept", where=where, hint=_HINT)
