"""The bill of materials against CycloneDX's own schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.toolchain.evidence.bill_of_materials import bill_of_materials
from tests.toolchain.evidence.conftest import COMMIT


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    """The schema that cyclonedx-python-lib carries, with those that it refers to."""
    folder = files("cyclonedx.schema") / "_res"
    documents = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8"))
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    known: Registry[Any] = Registry().with_resources(
        (document["$id"], Resource.from_contents(document)) for document in documents.values()
    )
    return Draft7Validator(documents["bom-1.6"], registry=known)


@pytest.mark.parametrize("carries", [True, False])
def test_it_holds_against_the_schema(
    schema: Draft7Validator, make_artifact: Callable[..., Artifact], carries: bool
) -> None:
    bill = json.loads(bill_of_materials(make_artifact(carries=carries)))
    assert [error.message for error in schema.iter_errors(bill)] == []
    bill["metadata"]["component"]["type"] = "neural-network"
    assert len(list(schema.iter_errors(bill))) == 1


def test_it_names_the_model_its_files_and_its_sources(artifact: Artifact) -> None:
    bill = json.loads(bill_of_materials(artifact))
    model = bill["metadata"]["component"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": artifact.digest.hex}]
    assert model["licenses"] == [{"expression": "Apache-2.0 AND LicenseRef-acme"}]
    assert model["modelCard"]["modelParameters"]["architectureFamily"] == "llama"
    components = {component["bom-ref"]: component for component in bill["components"]}
    assert components["source:base"]["purl"] == f"pkg:huggingface/acme/base@{COMMIT}"
    assert components["source:base"]["components"][0]["name"] == "model.safetensors"
    assert {f"file:{file.path}" for file in artifact.files} == {ref for ref in components if ref.startswith("file:")}
    assert bill["dependencies"][0] == {"ref": "artifact", "dependsOn": ["source:base", "source:tokenizer"]}


def test_the_same_artifact_has_the_same_bill(artifact: Artifact) -> None:
    assert bill_of_materials(artifact) == bill_of_materials(Artifact.open(artifact.store, artifact.digest))
