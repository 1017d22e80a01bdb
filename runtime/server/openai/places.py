"""Which field of a request an error is about that was found out behind the API, and does not say so itself."""

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
    """Remember for the errors of a request what its route calls the prompt, and what asks for the answer's form.

    Where no field asks for a form, only tools can.
    """
    request.ctx.places = (
        _ALIKE | dict.fromkeys(_OF_PROMPTS, prompt) | dict.fromkeys(_OF_FORMS, "tools" if form is None else form)
    )
