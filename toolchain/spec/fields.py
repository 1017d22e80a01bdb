"""Looks up which keys or words ModelSpec allows at a location, from the pydantic models."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from mlxbuild.toolchain.spec.written.form import TAG_MARK
from mlxbuild.toolchain.spec.written.recipe import ModelSpec


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a form as written in recipes."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def keys_at(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys allowed in the map at a path (pydantic's location, with union tags); empty if it is not a form."""
    found = _at(path)
    return keys_of(found) if isinstance(found, type) and issubclass(found, BaseModel) else ()


def words_at(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """The words allowed at a path; empty if the value is not an enumeration."""
    found = _at(path)
    return tuple(str(word) for word in get_args(found)) if get_origin(found) is Literal else ()


def _at(path: tuple[str | int, ...]) -> Any:
    found: Any = ModelSpec
    for part in path:
        found = _below(found, part)
        if found is None:
            return None
    return _bare(found)


def _below(annotation: Any, part: str | int) -> Any:
    bare = _bare(annotation)
    if isinstance(part, str) and part.startswith(TAG_MARK):
        return next((arm for arm in get_args(bare) if Tag(part) in getattr(arm, "__metadata__", ())), None)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        fields = bare.model_fields.items()
        return next((field.annotation for name, field in fields if part == (field.alias or name)), None)
    if get_origin(bare) is tuple:
        return get_args(bare)[0]
    return get_args(bare)[1] if get_origin(bare) is dict else None


def _bare(annotation: Any) -> Any:
    """The annotation without metadata, and without the None of an optional value."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation):
            arms = [arm for arm in get_args(annotation) if arm is not NoneType]
            if len(arms) > 1:
                return annotation
            annotation = arms[0]
        else:
            return annotation
