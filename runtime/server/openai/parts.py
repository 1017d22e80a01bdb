"""What messages of chat completions and of responses are made of. How each names its types stands with its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mlxbuild.runtime.server.request_body import RequestBody
from mlxbuild.runtime.server.text_only import not_taken

_MEDIA = {
    "image_url": "images",
    "input_image": "images",
    "input_audio": "sound",
    "file": "files",
    "input_file": "files",
}


class TextPart(RequestBody):
    """A part that is text."""

    text: str


class RefusalPart(RequestBody):
    """What a model once said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class MediaPart(RequestBody):
    """A part that is no text; read so that it can be refused clearly."""

    type: str


def text_of(content: str | Sequence[TextPart | RefusalPart | MediaPart], place: str) -> str:
    """All of a content, which stands at that place.

    Raises:
        NotSupported: a part that is no text.
    """
    if isinstance(content, str):
        return content
    return "".join(_text(part, f"{place}[{number}]") for number, part in enumerate(content))


def _text(part: TextPart | RefusalPart | MediaPart, place: str) -> str:
    match part:
        case TextPart():
            return part.text
        case RefusalPart():
            return part.refusal
        case MediaPart():
            raise not_taken(_MEDIA[part.type], place)
