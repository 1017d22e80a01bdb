"""What all request bodies of the native API have in common: how keys match, and what null means."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, model_validator

from mlxbuild.runtime.server.request_body import RequestBody


class NativeBody(RequestBody):
    """Unknown keys are passed over, keys match in any case, and null is as good as absent.

    Contract: Ollama decodes with Go's `encoding/json`, and its own client sends `"options":null` and the like.
    """

    model_config = ConfigDict(protected_namespaces=())

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
    """A body that names a model by `model`, or by `name`, its older word."""

    model: str = ""
    name: str = ""

    @property
    def named(self) -> str:
        """The name, without spaces around; empty where there is none."""
        return (self.model or self.name).strip()

    @property
    def echoed(self) -> str:
        """The name as the client wrote it, which answers repeat."""
        return self.model or self.name
