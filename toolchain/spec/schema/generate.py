"""Generates modelspec.v1.schema.json from the models: `python -m mlxbuild.toolchain.spec.schema.generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from mlxbuild.toolchain.spec.written.recipe import ModelSpec

PATH = Path(__file__).parent / "modelspec.v1.schema.json"


class _Titleless(GenerateJsonSchema):
    """Generates schemas without titles, which would only repeat field names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def generate() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ModelSpec v1."""
    schema = ModelSpec.model_json_schema(by_alias=True, schema_generator=_Titleless)
    for form in (schema, *schema["$defs"].values()):
        form.pop("title", None)
    schema["patternProperties"] = {"^x-": {"description": "Free for your own use."}}
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": "urn:mlxbuild:modelspec:v1",
        "title": "ModelSpec v1",
        **schema,
    }


def text() -> str:
    """The schema as committed and as `mlxbuild schema` prints it."""
    return json.dumps(generate(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
