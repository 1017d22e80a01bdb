"""What all forms of a recipe share: strictness, mistakes as values, and choices told apart by their keys."""

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
"""Begins the name of every union arm, so that arms can be told from keys in pydantic's locations."""

PATTERN_NOTES: dict[str, str] = {}
"""What each pattern asks for, in words."""

Item = TypeVar("Item")
Items = Annotated[tuple[Item, ...], Strict(False)]
"""A list of the recipe; strict mode would ask for a Python tuple."""


class Form(BaseModel):
    """A map of a recipe: frozen, without unknown keys and without silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def mistake(
    code: Code, message: str, *, note: str = "", hint: str | None = None, key: str | None = None
) -> PydanticCustomError:
    """A mistake to raise from a validator; `key` moves its mark to that key of the map at hand."""
    context = {"message": message, "note": note, "hint": hint or "", "key": key or ""}
    return PydanticCustomError(code.value, "{message}", context)


def pattern(regex: str, note: str) -> Any:
    """A field whose text must match; `note` says in words what is expected."""
    PATTERN_NOTES[regex] = note
    return Field(pattern=regex)


def arm(name: str) -> Tag:
    """The tag of one arm of a union."""
    return Tag(TAG_MARK + name)


class Choice:
    """Tells the arms of a union apart by which one of some keys a map has.

    `check` goes in a `BeforeValidator` and makes one mistake of none or several; `arm_of` in a `Discriminator`.
    The arm of a text, where a text is allowed, is called `text`.
    """

    def __init__(self, *keys: str, of: str, example: str, text: bool = False, beside: tuple[str, ...] = ()) -> None:
        self.keys = keys
        self.of = of
        self.example = example
        self.text = text
        self.beside = beside

    def arm_of(self, value: Any) -> str:
        """The tagged name of the arm."""
        if not isinstance(value, Mapping):
            return TAG_MARK + ("text" if self.text else self.keys[0])
        present = [key for key in self.keys if key in value]
        return TAG_MARK + (present[0] if present else self._meant(value)[0] or self.keys[0])

    def check(self, value: Any) -> Any:
        """The value itself.

        Raises:
            PydanticCustomError: not a map, or not exactly one of the keys.
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
            return value  # one mistyped key: the form says so
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
        """The key that the first unknown one was meant to be, if it is close to any, and that unknown one."""
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
"""A text file named relative to the recipe; checked where the validation's context is a `RecipeFolder`."""
Folder = Annotated[str, _with_folder(RecipeFolder.folder)]
"""A folder named relative to the recipe; checked likewise."""
GgufFile = Annotated[str, pattern(r"^.*\.gguf$", "expected the name of a .gguf file"), _with_folder(RecipeFolder.gguf)]
"""A GGUF file named relative to the recipe; checked likewise."""
BaseFolder = Annotated[str, _with_folder(RecipeFolder.base)]
"""A folder of weights, which may be elsewhere."""
ArtifactName = Annotated[str, AfterValidator(_check_reference)]
"""A reference to an artifact."""
OllamaModel = Annotated[str, AfterValidator(_check_ollama_name)]
"""A name of Ollama's registry."""
NonEmpty = Annotated[str, Field(min_length=1)]
