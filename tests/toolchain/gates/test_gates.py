"""Every kind of gate holds where it should, and says what is wrong where it should not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.engine.core.prepared_request import PromptUnusable
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.toolchain.gates.perplexity import BaseNotMeasured, measure_perplexity
from mlxbuild.toolchain.gates.result import GateFailed, GateResult
from mlxbuild.toolchain.gates.run import run_gate
from mlxbuild.toolchain.spec.resolved import Gate
from tests.runtime.asking import put_artifact
from tests.runtime.tiny_folders import write_model

Judge = Callable[..., GateResult]
TEXT = "hello world, how are you? hello world."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("gates") / "model", defaults={"system_prompt": "Be kind."})


@pytest.fixture
def judge(store: Store, folder: Path) -> Judge:
    """Runs a gate on the tiny artifact; the result must be plain JSON."""
    artifact = Artifact.open(store, put_artifact(store, folder))
    model = LoadedModel(folder)

    def run(kind: Any, base: Callable[[str], float] | None = None, **parameters: Any) -> GateResult:
        gate = Gate(kind, "mine", parameters)
        result = run_gate(gate, artifact, store, load=lambda: model, base_perplexity=base)
        assert (result.name, result.kind) == ("mine", kind)
        assert canonical_json.encode(result.to_json())
        assert GateResult.from_json(result.to_json()) == result
        return result

    return run


def test_contents(judge: Judge) -> None:
    assert judge("contents", require=["config.json", "*.safetensors"], forbid=["*.py", "*.bin"], strict=False).passed
    result = judge("contents", require=["config.json", "LICENSE*"], forbid=["*facts*"], strict=True)
    assert not result.passed
    complaints = result.message.splitlines()
    assert complaints[:2] == ["no file matches `LICENSE*`", "`mlxbuild/facts.json` is forbidden by `*facts*`"]
    assert "`tokenizer.json` is not required by any glob" in complaints
    assert judge("contents", require=["*"], strict=True).passed


def test_size(judge: Judge, folder: Path) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert judge("size", max_bytes=size).passed
    result = judge("size", max_bytes=size - 1)
    assert not result.passed
    assert result.measured == {"bytes": size, "max_bytes": size - 1}


def test_tokens(judge: Judge, folder: Path) -> None:
    ids = LoadedModel(folder).tokenize("hello Oslo", raw=False)
    assert judge("tokens", text="hello Oslo", ids=ids).passed
    wrong = judge("tokens", text="hello Oslo", ids=[ids[0], 9, *ids[2:]])
    assert not wrong.passed
    assert wrong.message == f"the ids differ from position 1 on\nwanted {[ids[0], 9, *ids[2:]]}\ngot    {ids}"
    assert "position 2 on" in judge("tokens", text="hello Oslo", ids=ids[:2]).message


GOLDEN = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
QUESTION = [{"role": "user", "content": "Hi"}]


def test_template(judge: Judge) -> None:
    assert judge("template", messages=QUESTION, golden=GOLDEN).passed
    assert judge("template", messages=QUESTION, golden=GOLDEN + "\n").passed
    result = judge("template", messages=QUESTION, golden=GOLDEN.replace("kind", "rude"))
    assert not result.passed
    assert result.message.splitlines()[:6] == [
        "the prompt differs",
        "--- golden",
        "+++ prompt",
        "@@ -1,5 +1,5 @@",
        " <|im_start|>system",
        "-Be rude.<|im_end|>",
    ]
    cut = judge("template", messages=QUESTION, golden=GOLDEN.removesuffix("\n"))
    assert "-<|im_start|>assistant\n\\ No newline at end\n+<|im_start|>assistant" in cut.message
    assert result.measured["prompt"] == GOLDEN


def test_a_template_that_fails_is_a_gate_that_failed(store: Store, folder: Path, tmp_path: Path) -> None:
    template = "{{ messages[0].content }}{% if messages | length > 5 %}\n{{ messages[0].a.b }}{% endif %}"
    broken = write_model(tmp_path / "broken", template=template)
    gate = Gate("template", "six turns", {"messages": QUESTION * 6, "golden": ""})
    artifact = Artifact.open(store, put_artifact(store, folder))
    result = run_gate(gate, artifact, store, load=lambda: LoadedModel(broken))
    assert not result.passed
    assert "chat_template.jinja:2" in result.message


def test_complete(judge: Judge, folder: Path) -> None:
    answer = "".join(chunk.text for chunk in LoadedModel(folder).generate("hello", max_tokens=8)).strip()
    given: dict[str, Any] = {"prompt": "hello", "max_tokens": 8, "temperature": 0.0}
    assert judge("complete", **given, expect={"contains": answer[:3]}).passed
    assert judge("complete", **given, expect={"equals": f" {answer}\n"}).passed
    assert judge("complete", **given, expect={"regex": r"^(?s:.)+$"}).passed
    result = judge("complete", **given, expect={"contains": "never said"})
    assert not result.passed
    assert result.message.startswith("the answer does not contain 'never said'; it was cut off by max_tokens\nanswer: ")
    assert result.measured == {"answer": answer, "finish_reason": "length"}
    assert not judge("complete", **given, expect={"equals": answer + "x"}).passed
    assert not judge("complete", **given, expect={"regex": "^never$"}).passed
    assert "is not JSON" in judge("complete", **given, expect={"json_schema": {"type": "object"}}).message
    in_chat = {"messages": QUESTION, "max_tokens": 8, "temperature": 0.7, "system": "Hm.", "think": False}
    assert judge("complete", **in_chat, expect={"regex": ""}) == judge("complete", **in_chat, expect={"regex": ""})


def test_complete_against_a_schema() -> None:
    from mlxbuild.toolchain.gates.complete import _complaint

    schema = {"type": "object", "properties": {"name": {"const": "get_weather"}}, "required": ["name"]}
    assert _complaint('{"name": "get_weather"}', {"json_schema": schema}) is None
    found = _complaint('{"name": "get_time"}', {"json_schema": schema})
    assert found == "the answer is not of the schema, at $.name: 'get_weather' was expected"


def test_perplexity(judge: Judge, folder: Path) -> None:
    value = float(f"{LoadedModel(folder).perplexity(TEXT):.6g}")
    assert judge("perplexity", text=TEXT, max=value).passed
    result = judge("perplexity", text=TEXT, max=value * 0.99)
    assert not result.passed
    assert result.measured == {"perplexity": value}


def test_perplexity_beside_the_base(judge: Judge, folder: Path) -> None:
    base = measure_perplexity(folder, TEXT)
    assert judge("perplexity", lambda text: base, text=TEXT, max_increase_vs_base=0.0).passed
    result = judge("perplexity", lambda text: base / 1.1, text=TEXT, max_increase_vs_base=0.05)
    assert not result.passed
    assert "+10.00% against the base's" in result.message
    with pytest.raises(BaseNotMeasured):
        judge("perplexity", text=TEXT, max_increase_vs_base=0.05)


def test_quantizing_costs_some_perplexity(tmp_path: Path, folder: Path) -> None:
    quantized = write_model(tmp_path / "model", quantization={"group_size": 32, "bits": 2, "mode": "affine"})
    assert measure_perplexity(quantized, TEXT) != measure_perplexity(folder, TEXT)


def test_weights_that_hold_no_numbers_fail(judge: Judge, folder: Path, store: Store, tmp_path: Path) -> None:
    import mlx.core as mx

    broken = write_model(tmp_path / "model")
    weights: Any = mx.load(str(broken / "model.safetensors"))
    weights["model.norm.weight"] *= float("nan")
    mx.save_safetensors(str(broken / "model.safetensors"), weights)
    artifact = Artifact.open(store, put_artifact(store, folder))
    gate = Gate("perplexity", "finite", {"text": TEXT, "max": 1e9})
    result = run_gate(gate, artifact, store, load=lambda: LoadedModel(broken))
    assert (result.passed, result.measured) == (False, {"perplexity": None})


def test_failed_gates_are_told_together() -> None:
    results = [
        GateResult("a", "size", True, "fine"),
        GateResult("b", "tokens", False, "wanted 1\ngot 2"),
        GateResult("c", "complete", False, "no"),
    ]
    error = GateFailed(results, where="hello:int4@1.0")
    assert error.exit_code == 4
    assert [result.name for result in error.failed] == ["b", "c"]
    assert error.message == "2 gates failed\n\nb (tokens): wanted 1\ngot 2\n\nc (complete): no"


def test_a_base_that_holds_no_numbers_is_told(tmp_path: Path) -> None:
    import mlx.core as mx

    broken = write_model(tmp_path / "model")
    weights: Any = mx.load(str(broken / "model.safetensors"))
    weights["model.norm.weight"] *= float("nan")
    mx.save_safetensors(str(broken / "model.safetensors"), weights)
    with pytest.raises(BaseNotMeasured, match="not a finite number"):
        measure_perplexity(broken, TEXT)


def test_a_text_of_tokens_that_the_model_does_not_know(folder: Path, tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["beyond"])
    foreign = tmp_path / "model"
    shutil.copytree(folder, foreign)
    tokenizer.save(str(foreign / "tokenizer.json"))
    for measured in (
        lambda: measure_perplexity(foreign, "hello beyond"),
        lambda: LoadedModel(foreign).perplexity("a beyond"),
    ):
        with pytest.raises(PromptUnusable, match="the model's tokens are 0 to") as caught:
            measured()
        assert caught.value.hint is not None
