"""The request fields of errors that are raised below the API and do not name their field."""

from __future__ import annotations

from sanic import Request

_ALIKE = {
    "unknown-reference": "model",
    "invalid-reference": "model",
    "invalid-keep-alive": "keep_alive",
    "invalid-option": "options",
    "tools-not-taken": "tools",
    "no-infill": "suffix",
}
_OF_PROMPTS = (
    "context-exceeded",
    "prompt-unusable",
    "invalid-conversation",
    "no-chat-template",
    "template-refuses",
    "template-broken",
    "template-too-costly",
)
_OF_FORMS = ("invalid-schema", "format-not-supported", "form-lost")


def tell_places(request: Request, *, prompt: str, form: str | None = None) -> None:
    """Set the fields that errors of a request refer to: that of the prompt, and that of the response format.

    Without a response format, its errors can only come from the tools.
    """
    request.ctx.places = (
        _ALIKE | dict.fromkeys(_OF_PROMPTS, prompt) | dict.fromkeys(_OF_FORMS, "tools" if form is None else form)
    )
