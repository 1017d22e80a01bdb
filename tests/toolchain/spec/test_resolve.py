"""What a recipe's values become: schemes, sources, inlined texts and gates."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from mlxbuild.registry.core.reference import Reference
from mlxbuild.runtime.model.prompt import template_names
from mlxbuild.toolchain.spec.resolved import (
    ArtifactSource,
    FolderSource,
    HubSource,
    PromptTemplate,
    Quantization,
    QuantizationScheme,
    ResolvedSpec,
)
from mlxbuild.toolchain.spec.written.chat import TemplateName

Only = Callable[..., ResolvedSpec]


@pytest.mark.parametrize(
    ("written", "scheme"),
    [
        ("none", None),
        ("fp16", None),
        ("int4", ("affine", 4, 64)),
        ("int8", ("affine", 8, 64)),
        ("mxfp4", ("mxfp4", 4, 32)),
        ("mxfp8", ("mxfp8", 8, 32)),
        ("nvfp4", ("nvfp4", 4, 16)),
        ("{}", ("affine", 4, 64)),
        ("{bits: 6, group_size: 32}", ("affine", 6, 32)),
        ("{mode: mxfp8}", ("mxfp8", 8, 32)),
        ("{recipe: mixed_3_6}", ("affine", 3, 64)),
    ],
)
def test_schemes(only: Only, written: str, scheme: tuple[Any, ...] | None) -> None:
    found = only(f"quantization: {written}\n").quantization.scheme
    assert found == (None if scheme is None else QuantizationScheme(*scheme))


def test_casts_set_the_data_type(only: Only) -> None:
    assert only("quantization: fp16\n").dtype == "float16"
    assert only("quantization: bf16\n").dtype == "bfloat16"
    assert only("quantization: int4\n").dtype is None
    assert only("quantization: keep\n").quantization == Quantization("keep", None)
    assert only("quantization: keep\n").quantization.keeps


def test_overrides_keep_their_order(only: Only) -> None:
    spec = only("quantization: {overrides: {'*.mlp.*': int8, lm_head: none, '*.q_proj': {bits: 3}}}\n")
    assert spec.quantization.overrides == (
        ("*.mlp.*", QuantizationScheme("affine", 8, 64)),
        ("lm_head", None),
        ("*.q_proj", QuantizationScheme("affine", 3, 64)),
    )


def test_sources(only: Only, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    assert only().base == HubSource("Qwen/Qwen3-0.6B", "main")
    assert only("", "base: {path: ./weights}\n").base == FolderSource(tmp_path / "weights", "./weights")
    assert only("", "base: {from: 'acme/x:int4@1.0'}\n").base == ArtifactSource(Reference("acme/x", "int4-1.0"))


def test_adapters(only: Only) -> None:
    first, second = only("adapters: [{hf_repo: a/b}, {hf_repo: a/c, revision: v2, scale: 2}]\n").adapters
    assert (first.scale, second.scale) == (1.0, 2.0)
    assert second.source == HubSource("a/c", "v2")


def test_texts_are_inlined(only: Only, tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    (tmp_path / "system.md").write_text("Be kind.\n")
    (tmp_path / "LICENSE").write_text("Do what you like.")
    spec = only(
        "prompt_template: {file: chat.jinja}\nsystem_prompt: {file: system.md}\n"
        "license: {expression: MIT, files: [LICENSE]}\n"
    )
    assert spec.prompt_template == PromptTemplate("text", "{{ messages }}")
    assert spec.system_prompt == "Be kind.\n"
    assert (spec.license, spec.license_files) == ("MIT", (("LICENSE", "Do what you like."),))


def test_a_size_is_written_as_it_is_printed(only: Only) -> None:
    sizes = ("634 kB", "900kB", "1KB", "2gib", "3 M", "1.5 GiB")
    gates = only("tests:\n" + "".join(f"  - size: {{max: {size}}}\n    name: {size}\n" for size in sizes)).gates
    assert [gate.parameters["max_bytes"] for gate in gates] == [634_000, 900_000, 1000, 2 * 2**30, 3_000_000, 3 * 2**29]


def test_gates_are_plain(only: Only, tmp_path: Path) -> None:
    (tmp_path / "golden.txt").write_text("<user>hi")
    (tmp_path / "evaluation.txt").write_text("One, two.")
    gates = only(
        "tests:\n"
        "  - contents: {require: [config.json]}\n"
        "  - template: {messages: [{role: user, content: hi}], golden: golden.txt}\n"
        "  - tokens: {text: hi, ids: [1, 2]}\n"
        "  - complete: {prompt: '2+2=', expect: {contains: '4'}}\n"
        "  - complete: {messages: [{role: user, content: hi}], expect: {regex: h.}, temperature: 1, think: true}\n"
        "    name: greeting\n"
        "  - perplexity: {dataset: evaluation.txt, max_increase_vs_base: 5%, max: 20}\n"
        "  - size: {max: 1.5 KiB}\n"
    ).gates
    user = {"role": "user", "content": "hi"}
    assert [(gate.kind, gate.name, gate.parameters) for gate in gates] == [
        ("contents", "contents", {"require": ["config.json"], "forbid": [], "strict": False}),
        ("template", "template", {"messages": [user], "golden": "<user>hi"}),
        ("tokens", "tokens", {"text": "hi", "ids": [1, 2]}),
        (
            "complete",
            "complete",
            {"prompt": "2+2=", "expect": {"contains": "4"}, "max_tokens": 128, "temperature": 0.0},
        ),
        (
            "complete",
            "greeting",
            {"messages": [user], "expect": {"regex": "h."}, "max_tokens": 128, "temperature": 1.0, "think": True},
        ),
        ("perplexity", "perplexity", {"text": "One, two.", "max": 20.0, "max_increase_vs_base": 0.05}),
        ("size", "size", {"max_bytes": 1536}),
    ]


def test_named_templates_are_those_of_the_runtime() -> None:
    assert get_args(TemplateName) == template_names()


def test_loading_a_recipe_imports_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "ModelSpec.yaml"
    path.write_text('name: hello\nversion: "1.0"\nbase: {hf_repo: a/b}\nvariants: {quantization: [int4, int8]}\n')
    script = (
        "import sys; from pathlib import Path; from mlxbuild.toolchain.spec.sources import sources_digest\n"
        "from mlxbuild.toolchain.spec.load import load\n"
        "recipe = load(Path(sys.argv[1])); sources_digest(recipe)\n"
        "heavy = {'mlx', 'mlx_lm', 'networkx', 'huggingface_hub', 'jsonschema', 'sanic', 'jinja2', 'difflib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
