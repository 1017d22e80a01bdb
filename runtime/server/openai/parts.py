"""The content parts that messages of chat completions and of responses share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.inference.text_only import not_taken

_MEDIA = {
    "image_url": "images",
    "input_image": "images",
    "input_audio": "sound",
    "file": "files",
    "input_file": "files",
}


class TextPart(RequestBody):
    """A text part."""

    text: str


class RefusalPart(RequestBody):
    """A part in which a model refused to answer."""

    type: Literal["refusal"]
    refusal: str


class MediaPart(RequestBody):
    """A part that is not text; it is parsed so that it can be refused with a clear message."""

    type: str


def text_of(content: str | Sequence[TextPart | RefusalPart | MediaPart], place: str) -> str:
    """The text of a message's content; `place` is its field in the request, for errors.

    Raises:
        NotSupported: a part is not text.
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
