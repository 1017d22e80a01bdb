"""The committed JSON Schema is the models' own, and judges recipes as they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from mlxbuild.toolchain.spec.document import parse
from mlxbuild.toolchain.spec.schema import generate
from mlxbuild.toolchain.spec.written.recipe import ModelSpec

EXAMPLES = Path(generate.__file__).parent / "examples"
VALID = sorted((EXAMPLES / "valid").glob("*.yaml"))
INVALID = sorted((EXAMPLES / "invalid").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = generate.generate()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def plain(path: Path) -> dict[str, Any]:
    document = parse(path.read_bytes(), path.name)
    assert not document.problems
    return document.data


def test_committed_schema_is_the_generated_one() -> None:
    assert generate.PATH.read_text(encoding="utf-8") == generate.text()


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_both_accept(path: Path, validator: Draft202012Validator) -> None:
    assert list(validator.iter_errors(plain(path))) == []
    ModelSpec.model_validate(plain(path))


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_both_refuse(path: Path, validator: Draft202012Validator) -> None:
    assert not validator.is_valid(plain(path))
    with pytest.raises(ValidationError) as caught:
        ModelSpec.model_validate(plain(path))
    assert caught.value.error_count() == 1


def test_every_key_is_described_and_unknown_keys_are_refused() -> None:
    schema = generate.generate()
    assert all("description" in field for field in schema["properties"].values())
    open_forms = [name for name, form in schema["$defs"].items() if form.get("additionalProperties") is not False]
    assert open_forms == ["VariantsForm"]
    assert schema["additionalProperties"] is False
