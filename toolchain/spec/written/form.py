"""What all forms of a recipe share: strict validation, mistakes as errors with codes, and unions told apart by keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, Tag, ValidationInfo
from pydantic_core import PydanticCustomError

from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.core.suggestions import closest, did_you_mean, listed
from mlxbuild.toolchain.spec.ollama_name import OllamaName
from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.recipe_folder import PathRefused, RecipeFolder

TAG_MARK = "\0"
"""First character of all union tags, which tells them apart from keys in pydantic's locations."""

PATTERN_NOTES: dict[str, str] = {}
"""Explanation of each pattern in words."""

Item = TypeVar("Item")
Items = Annotated[tuple[Item, ...], Strict(False)]
"""A list in a recipe; strict mode would require a Python tuple."""


class Form(BaseModel):
    """A map in a recipe: frozen, without unknown keys and without implicit conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def mistake(
    code: Code, message: str, *, note: str = "", hint: str | None = None, key: str | None = None
) -> PydanticCustomError:
    """An error to raise from a validator; `key` moves its marker to that key of the map."""
    context = {"message": message, "note": note, "hint": hint or "", "key": key or ""}
    return PydanticCustomError(code.value, "{message}", context)


def pattern(regex: str, note: str) -> Any:
    """A field that must match a regular expression; `note` explains it in words."""
    PATTERN_NOTES[regex] = note
    return Field(pattern=regex)


def arm(name: str) -> Tag:
    """The tag of one member of a union."""
    return Tag(TAG_MARK + name)


class Choice:
    """Tells the members of a union apart by which of several keys a map has.

    Use `check` in a `BeforeValidator`, where it raises an error for none or several, and `arm_of` in a `Discriminator`.
    If a text is allowed, its member is called `text`.
    """

    def __init__(self, *keys: str, of: str, example: str, text: bool = False, beside: tuple[str, ...] = ()) -> None:
        self.keys = keys
        self.of = of
        self.example = example
        self.text = text
        self.beside = beside

    def arm_of(self, value: Any) -> str:
        """The tag of the matching member."""
        if not isinstance(value, Mapping):
            return TAG_MARK + ("text" if self.text else self.keys[0])
        present = [key for key in self.keys if key in value]
        return TAG_MARK + (present[0] if present else self._meant(value)[0] or self.keys[0])

    def check(self, value: Any) -> Any:
        """Return the value unchanged.

        Raises:
            PydanticCustomError: it is not a map, or does not have exactly one of the keys.
        """
        if self.text and not isinstance(value, Mapping | list):
            return value
        if not isinstance(value, Mapping):
            raise mistake(
                Code.TYPE,
                f"{self.of} must be a map",
                note=f"expected one of {listed(self.keys)}",
                hint=self.example,
            )
        present = [key for key in value if key in self.keys]
        if len(present) > 1:
            raise mistake(
                Code.CHOICE,
                f"{self.of} has both `{present[0]}` and `{present[1]}`",
                note=f"needs exactly one of {listed(self.keys)}",
                hint="keep one of them",
                key=present[1],
            )
        if present:
            return value
        meant, stranger = self._meant(value)
        if meant is not None:
            return value  # one misspelled key: the model reports it
        if stranger is not None:
            raise mistake(
                Code.UNKNOWN_KEY,
                f"unknown key `{stranger}` in {self.of}",
                note=f"expected one of {listed(self.keys)}",
                hint=did_you_mean(stranger, self.keys) or self.example,
                key=stranger,
            )
        raise mistake(
            Code.CHOICE,
            f"{self.of} has none of {listed(self.keys)}",
            note="needs exactly one of them",
            hint=self.example,
        )

    def _meant(self, value: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The key that the first unknown one probably means, and that unknown one; None for both if none is close."""
        strangers = [key for key in value if key not in self.keys and key not in self.beside]
        for stranger in strangers:
            found = closest(stranger, self.keys)
            if found is not None:
                return found, stranger
        return None, strangers[0] if strangers else None


def _with_folder(check: Callable[[RecipeFolder, str], object]) -> AfterValidator:
    def validate(written: str, info: ValidationInfo) -> str:
        if isinstance(info.context, RecipeFolder):
            try:
                check(info.context, written)
            except PathRefused as error:
                raise mistake(error.code, error.message, note=error.note, hint=error.hint) from None
        return written

    return AfterValidator(validate)


def _check_reference(written: str) -> str:
    try:
        Reference.parse(written)
    except UserError as error:
        raise mistake(Code.REFERENCE, error.message, note="not an artifact", hint=error.hint) from None
    return written


def _check_ollama_name(written: str) -> str:
    try:
        OllamaName.parse(written)
    except UserError as error:
        raise mistake(Code.REFERENCE, error.message, note="not a model of Ollama", hint=error.hint) from None
    return written


TextFile = Annotated[str, _with_folder(RecipeFolder.text)]
"""The path of a text file, relative to the recipe; checked if the validation context is a `RecipeFolder`."""
Folder = Annotated[str, _with_folder(RecipeFolder.folder)]
"""The path of a folder, relative to the recipe; checked likewise."""
GgufFile = Annotated[str, pattern(r"^.*\.gguf$", "expected the name of a .gguf file"), _with_folder(RecipeFolder.gguf)]
"""The path of a GGUF file, relative to the recipe; checked likewise."""
BaseFolder = Annotated[str, _with_folder(RecipeFolder.base)]
"""The path of a folder with weights, which may be outside of the recipe's folder."""
ArtifactName = Annotated[str, AfterValidator(_check_reference)]
"""A reference to an artifact."""
OllamaModel = Annotated[str, AfterValidator(_check_ollama_name)]
"""The name of a model in Ollama's registry."""
NonEmpty = Annotated[str, Field(min_length=1)]
