"""mlx-lm's classes without mlx-lm's front door, which still opens for those who need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlxbuild.runtime.mlx_lm.package import functions, tables
from mlxbuild.runtime.model.architecture import UnsupportedArchitecture, model_classes, module_name

CONFIGS = [
    {"model_type": "llama"},
    {"model_type": "qwen3"},
    {"model_type": "mistral"},
    {"model_type": "llava"},
    {"model_type": "kimi_k2"},
    {"model_type": "bailing_hybrid", "architectures": ["BailingMoeV3ForCausalLM"]},
    {"model_type": "bailing_hybrid", "architectures": ["SomethingElse"]},
    {"model_type": "bailing_hybrid", "architectures": "BailingMoeV3ForCausalLM"},
]


def fresh_python(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: "-".join(map(str, config.values())))
def test_the_classes_are_those_of_mlx_lm(config: dict[str, object]) -> None:
    from mlx_lm.utils import _get_classes

    try:
        expected = _get_classes(config)
    except ValueError:
        with pytest.raises(UnsupportedArchitecture):
            model_classes(config)
    else:
        assert model_classes(config) == expected


def test_an_unknown_architecture_names_its_neighbours() -> None:
    with pytest.raises(UnsupportedArchitecture, match="`qwen33`") as caught:
        model_classes({"model_type": "qwen33"})
    assert caught.value.hint is not None
    assert "qwen3" in caught.value.hint


@pytest.mark.parametrize("model_type", ["cache", "base", "__init__", "../utils", ""])
def test_what_is_a_module_but_no_model_is_refused(model_type: str) -> None:
    with pytest.raises(UnsupportedArchitecture):
        model_classes({"model_type": model_type})


def test_code_that_needs_a_missing_library_is_refused() -> None:
    with pytest.raises(UnsupportedArchitecture, match="cannot be imported"):
        model_classes({"model_type": "olmo"})


def test_a_configuration_without_type_is_refused() -> None:
    with pytest.raises(UnsupportedArchitecture, match="no model_type"):
        module_name({})


def test_nothing_heavy_is_imported_and_the_front_door_still_opens() -> None:
    code = """
import resource, sys
before = resource.getrlimit(resource.RLIMIT_NOFILE)
from mlxbuild.runtime.model.architecture import model_classes
from mlxbuild.runtime.mlx_lm.package import utils
model, arguments = model_classes({"model_type": "llama"})
assert utils().load_model and utils().dequantize_model
assert "transformers" not in sys.modules and "huggingface_hub" not in sys.modules
import mlx_lm
assert mlx_lm.load
from mlx_lm.utils import _get_classes
assert mlx_lm.models.llama.Model is model and mlx_lm.__version__
assert _get_classes({"model_type": "llama"}) == (model, arguments)
assert "transformers" in sys.modules
assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
assert resource.setrlimit.__name__ == "setrlimit"
print("done")
"""
    assert fresh_python(code) == "done\n"


def test_a_front_door_that_is_open_already_is_used() -> None:
    code = """
import mlx_lm, mlx_lm.utils
from mlxbuild.runtime.model.architecture import model_classes
from mlxbuild.runtime.mlx_lm.package import utils
assert utils() is mlx_lm.utils
assert model_classes({"model_type": "llama"}) == mlx_lm.utils._get_classes({"model_type": "llama"})
print("done")
"""
    assert fresh_python(code) == "done\n"


def test_threads_may_ask_at_once() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from mlxbuild.runtime.model.architecture import model_classes
kinds = ["llama", "qwen3", "gemma2", "phi3", "qwen2", "olmo2"] * 4
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda kind: model_classes({"model_type": kind})[0].__module__, kinds))
assert found == [f"mlx_lm.models.{kind}" for kind in kinds]
print("done")
"""
    assert fresh_python(code) == "done\n"


def test_a_name_that_mlx_lm_no_longer_has_is_told() -> None:
    with pytest.raises(LookupError, match="no_such_table"):
        tables("utils", "MODEL_REMAPPING", "no_such_table")


def test_functions_of_a_module_are_those_that_it_has_when_it_is_imported() -> None:
    code = """
from mlxbuild.runtime.mlx_lm.package import functions
from types import SimpleNamespace
import sys
names = ("_infer_thinking", "_infer_tool_parser", "_is_xtml_vocab")
taken = functions("tokenizer_utils", *names)
assert not {"transformers", "mlx_lm"} & sys.modules.keys()
from mlx_lm import tokenizer_utils
assert [taken[name].__code__ for name in names] == [getattr(tokenizer_utils, name).__code__ for name in names]
vocabulary = {"<|open|>": 0, "<|close|>": 1, "<|sep|>": 2, "<|end_of_msg|>": 3}
view = SimpleNamespace(chat_template=None, get_vocab=lambda: vocabulary, encode=lambda text, add_special_tokens: [7])
assert [taken[name](view) for name in names[:2]] == [getattr(tokenizer_utils, name)(view) for name in names[:2]]
print("done")
"""
    assert fresh_python(code) == "done\n"


def test_a_function_that_mlx_lm_no_longer_has_is_told() -> None:
    with pytest.raises(LookupError, match="no_such_function"):
        functions("tokenizer_utils", "_infer_thinking", "no_such_function")
