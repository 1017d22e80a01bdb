"""The base of all request bodies of the native API: how keys match, and what null means."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict, model_validator

from mlxbuild.runtime.server.bodies.request_body import RequestBody


class NativeBody(RequestBody):
    """A request body that ignores unknown keys, matches keys case-insensitively, and treats null as absent.

    Contract: Ollama decodes with Go's `encoding/json`, and its own client sends `"options":null` and the like.
    """

    model_config = ConfigDict(protected_namespaces=())
    folds_names: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _match(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = {field.alias or name for name, field in cls.model_fields.items()}
        exact = {key: value for key, value in given.items() if key in known and value is not None}
        alike = {str(key).lower(): value for key, value in given.items() if key not in known and value is not None}
        return {key: value for key, value in alike.items() if key in known} | exact


class ModelBody(NativeBody):
    """A body that names a model by `model`, or by the older `name`."""

    model: str = ""
    name: str = ""

    @property
    def named(self) -> str:
        """The name without surrounding spaces; empty if there is none."""
        return (self.model or self.name).strip()

    @property
    def echoed(self) -> str:
        """The name as the client wrote it, which responses repeat."""
        return self.model or self.name
