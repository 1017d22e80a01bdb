"""Names of Ollama, and manifests of its registry: read as Ollama reads them, or refused."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.sources.ollama.carried import defaults_document, lost
from mlxbuild.toolchain.sources.ollama.manifest import BrokenOllamaManifest, UnsupportedOllamaModel, read_manifest
from mlxbuild.toolchain.spec.ollama_name import InvalidOllamaName, OllamaName


@pytest.mark.parametrize(
    ("written", "full", "short"),
    [
        ("qwen3", "registry.ollama.ai/library/qwen3:latest", "qwen3:latest"),
        ("qwen3:0.6b", "registry.ollama.ai/library/qwen3:0.6b", "qwen3:0.6b"),
        ("acme/x:y", "registry.ollama.ai/acme/x:y", "acme/x:y"),
        ("https://registry.ollama.ai/library/a:b", "registry.ollama.ai/library/a:b", "a:b"),
        ("localhost:5000/library/a", "localhost:5000/library/a:latest", "localhost:5000/library/a:latest"),
        ("hf.co/Acme/X-GGUF:Q4_K_M", "hf.co/Acme/X-GGUF:Q4_K_M", "hf.co/Acme/X-GGUF:Q4_K_M"),
    ],
)
def test_names(written: str, full: str, short: str) -> None:
    name = OllamaName.parse(written)
    assert (name.full, str(name)) == (full, short)
    assert OllamaName.parse(short) == OllamaName.parse(full) == name


@pytest.mark.parametrize("written", ["", ":x", "a:", "a/b/c/d", "../a", "a/../b", "a b", "a@sha256:0", "-a", "a:b:c"])
def test_no_names(written: str) -> None:
    with pytest.raises(InvalidOllamaName):
        OllamaName.parse(written)


@given(st.text(max_size=60))
def test_any_text_is_a_name_of_safe_parts_or_refused(text: str) -> None:
    with suppress(InvalidOllamaName):
        name = OllamaName.parse(text)
        assert OllamaName.parse(str(name)) == name
        assert not {"", ".", ".."} & set(name.full.split("/"))


DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(["application/vnd.ollama.image.model"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["layers", "mediaType", "digest", "size", "name", "stop", "top_k"]), inner)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=40) | DOCUMENTS.map(lambda document: json.dumps({"layers": [document]}).encode()))
def test_any_manifest_is_read_or_refused(data: bytes) -> None:
    with suppress(BrokenOllamaManifest, UnsupportedOllamaModel):
        read_manifest(data, "tiny:q8").files()


@given(st.binary(max_size=40) | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_any_parameters_are_carried_lost_or_refused(data: bytes) -> None:
    with suppress(BrokenOllamaManifest):
        document = json.loads(defaults_document(data, None, None, "tiny") or b"{}")
        kept = len(document.get("parameters", {})) + len(lost(data, "tiny"))
        assert kept >= len({key for key in json.loads(data) if key != "num_predict"})
    with suppress(BrokenOllamaManifest):
        defaults_document(None, data, data, "tiny")
