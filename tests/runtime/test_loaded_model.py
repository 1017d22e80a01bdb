"""A loaded model as Python uses it: an artifact from the store, its defaults, its prompts, and what is refused."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.engine.core.options import InvalidOption
from mlxbuild.runtime.engine.input.conversation import NoChatTemplate, ToolsNotTaken
from mlxbuild.runtime.engine.input.defaults import Defaults
from mlxbuild.runtime.loaded_model import LoadedModel, NotAnArtifactFolder
from mlxbuild.runtime.model.prompt import named
from tests.runtime.asking import USER, WEATHER, put_artifact, text
from tests.runtime.tiny_folders import write_model


def test_an_artifact_answers_through_links_into_the_store(store: Store, tiny: LoadedModel) -> None:
    model = LoadedModel.open(store, put_artifact(store, tiny.folder))
    assert (model.folder / "model.safetensors").is_symlink()
    assert model.facts == tiny.facts
    assert text(model.generate("hello", max_tokens=8)) == text(tiny.generate("hello", max_tokens=8))
    *_, last = model.chat([USER], max_tokens=3)
    assert last.finish is not None
    assert last.finish.prompt_tokens == len(model.tokenize(model.prompt([USER]), raw=False))


def test_defaults_of_the_artifact_hold_until_a_request_sets_its_own(tmp_path: Path) -> None:
    defaults = {
        "system_prompt": "Be kind.",
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "parameters": {"max_tokens": 4, "temperature": 0.0, "stops": ["zzz"], "context": 99},
    }
    model = LoadedModel(write_model(tmp_path / "model", defaults=defaults))
    opening = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n"
    end = "<|im_start|>assistant\n"
    assert model.prompt([USER]) == f"<|im_start|>system\nBe kind.<|im_end|>\n{opening}{end}"
    own = {"role": "system", "content": "Be brief."}
    assert model.prompt([own, USER]) == model.prompt([USER], system="Be brief.")
    assert model.prompt([USER], system="Be brief.").startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert model.prompt([USER], system="") == opening + end
    *_, last = model.chat([USER])
    assert last.finish is not None
    assert last.finish.answer_tokens == 4
    *_, last = model.chat([USER], max_tokens=2)
    assert last.finish is not None
    assert last.finish.answer_tokens == 2


def test_a_last_word_of_the_assistant_is_continued(tiny: LoadedModel) -> None:
    assert tiny.prompt([USER, {"role": "assistant", "content": "Well,"}]).endswith("<|im_start|>assistant\nWell,")


def test_tool_calls_of_the_answer_fit_into_the_next_request(tiny: LoadedModel) -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    prompt = tiny.prompt([USER, {"role": "assistant", "content": "", "tool_calls": [call]}])
    assert '{"name": "f", "arguments": {"a": 1}}' in prompt


def test_templates_that_want_arguments_as_text_get_them(tmp_path: Path) -> None:
    template = named("chatml").replace(
        "tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson",
        "'' + tool_call.arguments",
    )
    model = LoadedModel(write_model(tmp_path / "model", template=template))
    assert model.facts.tool_arguments_as_text
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    assert '"arguments": {"a": 1}}' in model.prompt([USER, {"role": "assistant", "tool_calls": [call]}])


def test_the_clock_of_a_template_can_be_set(tmp_path: Path) -> None:
    model = LoadedModel(write_model(tmp_path / "model", template="{{ strftime_now('%Y') }}{{ messages[-1].content }}"))
    later = model.at(lambda: datetime(2040, 1, 1, tzinfo=UTC))
    assert later.prompt([USER]) == "2040hello"
    assert model.prompt([USER]) == f"{datetime.now().year}hello"


def test_what_is_wrong_is_told_before_the_first_chunk(tiny: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption):
        tiny.chat([USER], temprature=1)
    with pytest.raises(NotAnArtifactFolder, match=r"facts\.json is missing"):
        LoadedModel(tmp_path)
    facts = json.loads(tiny.facts.to_json()) | {"takes_tools": False}
    deaf = shutil.copytree(tiny.folder, tmp_path / "deaf")
    (deaf / "mlxbuild" / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(ToolsNotTaken) as told:
        LoadedModel(deaf).chat([USER], tools=[WEATHER])
    assert "leave `tools` out" in str(told.value.hint)
    bare = shutil.copytree(tiny.folder, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(NoChatTemplate):
        LoadedModel(bare).chat([USER])
    with pytest.raises(InvalidOption, match="creativity"):
        Defaults.from_json(b'{"parameters": {"creativity": 1}}')


def test_files_are_read_without_mlx(tiny_folder: Path) -> None:
    from tests.runtime.model.test_architecture import fresh_python

    code = f"""
import sys
from pathlib import Path
from mlxbuild.runtime.loaded_model import LoadedModel
model = LoadedModel(Path({str(tiny_folder)!r}))
assert model.tokenize("hello") and model.prompt([{{"role": "user", "content": "x"}}])
assert not [name for name in sys.modules if name.split(".")[0] in ("mlx", "mlx_lm", "transformers")]
list(model.generate("hello", max_tokens=2))
assert "mlx" in sys.modules and "transformers" not in sys.modules
print("done")
"""
    assert fresh_python(code) == "done\n"


def test_python_needs_no_server(tiny_folder: Path) -> None:
    from tests.runtime.model.test_architecture import fresh_python

    code = f"""
import sys
from pathlib import Path
import mlxbuild
from mlxbuild.runtime.loaded_model import LoadedModel
model = LoadedModel(Path({str(tiny_folder)!r}))
list(model.chat([{{"role": "user", "content": "x"}}], max_tokens=2))
loaded = {{name.split(".")[0] for name in sys.modules}}
assert "mlx" in loaded and not loaded & {{"sanic", "transformers", "llguidance"}}, loaded
print("done")
"""
    assert fresh_python(code) == "done\n"
