"""What is asked for of an earlier response, and not kept here (any more)."""

from __future__ import annotations

from registry.errors import UserError

_HINT = "responses are kept for a while, in memory: send the whole conversation as input, with `store` set to false"


class UnknownResponse(UserError):
    """A response is not kept: it is too old, `store` was false, the server began anew, or it is of another API key."""

    code = "unknown-response"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"no response `{response_id}` is kept", hint=_HINT)


class UnknownPreviousResponse(UserError):
    """A response is to go on after one that is not kept, or whose own beginning is not."""

    code = "unknown-previous-response"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"no response `{response_id}` is kept", where="previous_response_id", hint=_HINT)


class UnknownItem(UserError):
    """The input refers to an item of a response that is not kept."""

    code = "unknown-item"

    def __init__(self, item_id: str, where: str) -> None:
        super().__init__(f"no item `{item_id}` is kept", where=where, hint=_HINT)
