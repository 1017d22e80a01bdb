"""A loaded model as Python uses it: an artifact from the store, its defaults, and the example that can talk."""

from __future__ import annotations

import gc
import json
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.artifact import modelpack
from registry.artifact.files import ArtifactFile, FileRole
from registry.digest import Digest
from registry.errors import MlxbuildError
from registry.store.layout import Store
from runtime.engine.conversation import NoChatTemplate, ToolsNotTaken
from runtime.engine.defaults import Defaults
from runtime.engine.limits import Limits
from runtime.engine.loop import EngineEnded
from runtime.engine.options import InvalidOption
from runtime.engine.prepared import PromptUnusable
from runtime.model.drafting import DraftUnusable
from runtime.model.facts import EmbeddingFacts, ModelFacts
from runtime.model.files import FACTS_FILE
from runtime.model.prompt import ChatTemplate, named
from runtime.protocol.events import Chunk
from runtime.protocol.requests import ChatRequest, CompletionRequest, PromptRequest
from runtime.session import LoadedModel, NotAnArtifactFolder
from tests.runtime.engine.random_models import OWN_CONFIG
from tests.runtime.tiny_folders import write_model

USER = {"role": "user", "content": "hello"}


def put_artifact(store: Store, folder: Path) -> Digest:
    """The folder's files as an artifact."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [
        ArtifactFile(
            path.relative_to(folder).as_posix(),
            FileRole.WEIGHT if path.suffix == ".safetensors" else FileRole.CONFIG,
            store.put(path.read_bytes()),
        )
        for path in paths
    ]
    description = modelpack.ArtifactDescription(
        name="tiny",
        version="1",
        title="tiny:none@1",
        spec_digest=Digest.of_bytes(b"spec"),
        lock_digest=Digest.of_bytes(b"lock"),
    )
    return modelpack.build(store, description, files).digest


def text(chunks: Any) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_an_artifact_answers_through_links_into_the_store(store: Store, tiny: LoadedModel) -> None:
    model = LoadedModel.open(store, put_artifact(store, tiny.folder))
    assert (model.folder / "model.safetensors").is_symlink()
    assert model.facts == tiny.facts
    assert text(model.generate("hello", max_tokens=8)) == text(tiny.generate("hello", max_tokens=8))
    *_, last = model.chat([USER], max_tokens=3)
    assert last.ending is not None
    assert last.ending.prompt_tokens == len(model.tokenize(model.prompt([USER]), raw=False))


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
    assert last.ending is not None
    assert last.ending.answer_tokens == 4
    *_, last = model.chat([USER], max_tokens=2)
    assert last.ending is not None
    assert last.ending.answer_tokens == 2


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
    with pytest.raises(ToolsNotTaken):
        LoadedModel(deaf).chat([USER], tools=[WEATHER])
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
from runtime.session import LoadedModel
model = LoadedModel(Path({str(tiny_folder)!r}))
assert model.tokenize("hello") and model.prompt([{{"role": "user", "content": "x"}}])
assert not [name for name in sys.modules if name.split(".")[0] in ("mlx", "mlx_lm", "transformers")]
list(model.generate("hello", max_tokens=2))
assert "mlx" in sys.modules and "transformers" not in sys.modules
print("done")
"""
    assert fresh_python(code) == "done\n"


HELLO = Path(__file__).parents[2] / "examples" / "hello" / "model"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="session")
def hello_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's model with the facts that the build finds."""
    from runtime.model.tokenizer import Tokenizer
    from toolchain.steps.model_facts import find_facts, named_special_tokens

    folder = shutil.copytree(HELLO, tmp_path_factory.mktemp("models") / "hello")
    (folder / "mlxbuild").mkdir()
    document = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("config", "generation_config", "tokenizer_config")
    }
    special_tokens = named_special_tokens(document["tokenizer_config"], {})
    template = ChatTemplate((folder / "chat_template.jinja").read_text(), special_tokens)
    facts = find_facts(
        **document, special_tokens=special_tokens, tokenizer=Tokenizer.open(folder), template=template, defaults={}
    )
    (folder / "mlxbuild" / "facts.json").write_bytes(facts.to_json())
    return folder


@pytest.fixture
def hello(hello_folder: Path) -> LoadedModel:
    return LoadedModel(hello_folder)


def test_the_example_answers_and_stops_by_itself(hello: LoadedModel) -> None:
    chunks = list(hello.chat([{"role": "user", "content": "What is mlxbuild?"}], think=False, max_tokens=200))
    assert "mlxbuild is" in text(chunks)
    assert chunks[-1].ending is not None
    assert chunks[-1].ending.reason == "stop"
    assert "<|" not in text(chunks)


def test_the_example_thinks_when_it_may(hello: LoadedModel) -> None:
    question = [{"role": "user", "content": "What is mlxbuild?"}]
    thinking = list(hello.chat(question, think=True, max_tokens=200))
    silent = list(hello.chat(question, think=False, max_tokens=200))
    assert "".join(chunk.thinking for chunk in thinking)
    assert not "".join(chunk.thinking for chunk in silent)
    assert text(thinking)
    assert "think>" not in text(thinking)


def test_the_example_calls_a_tool_and_uses_its_result(hello: LoadedModel) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
    chunks: list[Chunk] = list(hello.chat(messages, tools=[WEATHER], think=False, max_tokens=200))
    (call,) = [chunk.tool_call for chunk in chunks if chunk.tool_call is not None]
    assert (call.name, dict(call.arguments)) == ("get_weather", {"city": "Oslo"})
    assert chunks[-1].ending is not None
    assert chunks[-1].ending.reason == "tool_calls"
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [call.as_message_part()]},
        {"role": "tool", "name": "get_weather", "content": '{"celsius": 4, "sky": "clear"}'},
    ]
    answer = text(hello.chat(messages, tools=[WEATHER], think=False, max_tokens=200))
    assert "4" in answer
    assert "Oslo" in answer


def test_answers_come_at_once_to_threads_and_coroutines(tiny: LoadedModel) -> None:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    prompts = [f"hello {number}" for number in range(6)]
    expected = [text(tiny.generate(prompt, max_tokens=12)) for prompt in prompts]

    async def gather() -> list[str]:
        async def one(prompt: str) -> str:
            return "".join([chunk.text async for chunk in tiny.generate_async(prompt, max_tokens=12)])

        return await asyncio.gather(*map(one, prompts))

    with ThreadPoolExecutor(6) as pool:
        threads = [pool.submit(lambda prompt: text(tiny.generate(prompt, max_tokens=12)), prompt) for prompt in prompts]
        assert asyncio.run(gather()) == expected
        assert [each.result() for each in threads] == expected


def test_a_coroutine_that_leaves_ends_the_computing(tiny: LoadedModel) -> None:
    import asyncio

    async def leave() -> None:
        async for chunk in tiny.chat_async([USER]):
            if chunk.token is not None:
                break
        task = asyncio.create_task(anext(tiny.generate_async("hello world " * 30)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    for stream in (tiny.answer(CompletionRequest("hello")), tiny.answer(CompletionRequest("world"))):
        next(stream)
        stream.close()
        assert list(stream) == []
    gc.collect()
    figures = tiny.engine.run(tiny.engine.statistics).result()
    assert (figures.running, figures.waiting) == (0, 0)


def test_a_closed_model_says_so_and_loads_again(tiny: LoadedModel) -> None:
    expected = text(tiny.generate("hello", max_tokens=5))
    stream = tiny.generate("hello")
    tiny.close()
    with pytest.raises(EngineEnded):
        list(stream)
    assert text(tiny.generate("hello", max_tokens=5)) == expected


def test_a_draft_of_the_same_tokens_changes_no_answer(tiny: LoadedModel, tmp_path: Path) -> None:
    expected = text(tiny.generate("hello", max_tokens=20))
    drafted = LoadedModel(tiny.folder, draft=LoadedModel(write_model(tmp_path / "draft", "llama")))
    assert text(drafted.generate("hello", max_tokens=20)) == expected


def test_an_earlier_exchange_goes_on_by_its_tokens(tiny: LoadedModel) -> None:
    first = ChatRequest((USER,), options={"max_tokens": 8}, wants_tokens=True)
    *_, last = (event for event in tiny.answer(first) if isinstance(event, Chunk))
    assert last.ending is not None
    assert last.ending.tokens is not None
    assert len(last.ending.tokens) == last.ending.prompt_tokens + 8
    second = ChatRequest((USER,), preceding_tokens=last.ending.tokens, options={"max_tokens": 2})
    *_, last_of_second = (event for event in tiny.answer(second) if isinstance(event, Chunk))
    assert last_of_second.ending is not None
    assert last_of_second.ending.prompt_tokens == len(last.ending.tokens) + last.ending.prompt_tokens
    assert last_of_second.ending.reused_tokens >= len(last.ending.tokens) - 1
    prompt = tiny.prompt_of(PromptRequest(second))
    assert prompt.tokens == last_of_second.ending.prompt_tokens
    assert prompt.text.endswith(tiny.prompt([USER]))


def test_the_oldest_messages_make_room_and_system_and_last_stay(tiny: LoadedModel) -> None:
    system = {"role": "system", "content": "Be kind."}
    turns = [
        {"role": role, "content": f"{role} {number} " + "x" * 20}
        for number in range(40)
        for role in ("user", "assistant")
    ]
    last = {"role": "user", "content": "and now?"}
    request = ChatRequest((system, *turns, last), options={"max_tokens": 4})
    prompt = tiny.prompt_of(PromptRequest(request))
    assert 350 < prompt.tokens < 512
    assert "Be kind." in prompt.text
    assert "and now?" in prompt.text
    assert "assistant 39" in prompt.text
    assert "user 0 " not in prompt.text
    *_, end = tiny.answer(request)
    assert isinstance(end, Chunk)
    assert end.ending is not None
    assert end.ending.prompt_tokens == prompt.tokens
    with pytest.raises(PromptUnusable, match="input length"):
        tiny.prepare(ChatRequest((system, *turns, last), truncates=False))
    with pytest.raises(PromptUnusable, match="input length"):
        tiny.prepare(ChatRequest((system, {"role": "user", "content": "é" * 500})))
    smaller = tiny.prompt_of(PromptRequest(ChatRequest((system, *turns, last), context_tokens=200)))
    assert 100 < smaller.tokens < 200


def test_python_needs_no_server(tiny_folder: Path) -> None:
    from tests.runtime.model.test_architecture import fresh_python

    code = f"""
import sys
from pathlib import Path
import mlxbuild
from runtime.session import LoadedModel
model = LoadedModel(Path({str(tiny_folder)!r}))
list(model.chat([{{"role": "user", "content": "x"}}], max_tokens=2))
loaded = {{name.split(".")[0] for name in sys.modules}}
assert "mlx" in loaded and not loaded & {{"sanic", "transformers", "llguidance"}}, loaded
print("done")
"""
    assert fresh_python(code) == "done\n"


def test_a_model_that_cannot_be_rewound_keeps_checkpoints_of_conversations(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "lfm2", more={**OWN_CONFIG["lfm2"], "block_dim": 64})
    model = LoadedModel(folder)
    system = {"role": "system", "content": "Be kind, and say where the nearest library is. " * 3}

    def ask(*messages: Any) -> tuple[str, int]:
        *chunks, last = model.chat([system, *messages], max_tokens=8)
        assert last.ending is not None
        return text(chunks), last.ending.reused_tokens

    def length(*messages: Any) -> int:
        return len(model.tokenize(model.prompt([system, *messages]), raw=False))

    first, second = {"role": "user", "content": "hello"}, {"role": "user", "content": "are you there?"}
    answer, reused = ask(first)
    assert reused == 0
    assert ask(second)[1] >= length({"role": "user", "content": ""}) - 16, "the system prompt was read once"
    follow_up = [first, {"role": "assistant", "content": answer}, second]
    told, reused = ask(*follow_up)
    assert reused >= length(first) - 16, "the first exchange was read once"
    cold = LoadedModel(folder, limits=Limits(prefix_bytes=0))
    assert told == text(cold.chat([system, *follow_up], max_tokens=8))


def test_what_a_model_may_take_bounds_its_form_and_its_caches(tiny_folder: Path) -> None:
    size_bytes = LoadedModel(tiny_folder).weights.holding.size_bytes
    with closing(LoadedModel(tiny_folder, memory_bytes=size_bytes + 100_000_000)) as roomy:
        assert text(roomy.generate("hello", max_tokens=3))
    with closing(LoadedModel(tiny_folder, memory_bytes=size_bytes)) as narrow, pytest.raises(MlxbuildError):
        list(narrow.generate("hello", max_tokens=3))


def test_what_a_model_may_take_is_for_its_draft_too(tiny_folder: Path, tmp_path: Path) -> None:
    size_bytes = LoadedModel(tiny_folder).weights.holding.size_bytes
    with closing(LoadedModel(tiny_folder, memory_bytes=2 * size_bytes, draft=LoadedModel(tiny_folder))) as narrow:
        with pytest.raises(MlxbuildError):  # nothing is left for caches
            list(narrow.generate("hello", max_tokens=3))
    with closing(LoadedModel(tiny_folder, memory_bytes=10**8, draft=LoadedModel(tiny_folder))) as roomy:
        assert text(roomy.generate("hello", max_tokens=3))


def test_a_model_that_embeds_drafts_for_none(tiny: LoadedModel, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "embedder")
    facts = replace(ModelFacts.from_json((folder / FACTS_FILE).read_bytes()), embedding=EmbeddingFacts("last"))
    (folder / FACTS_FILE).write_bytes(facts.to_json())
    with pytest.raises(DraftUnusable, match="only turns texts into vectors"):
        LoadedModel(tiny.folder, draft=LoadedModel(folder))


def test_the_small_form_of_a_model_drafts_for_the_large_one(
    hello_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlxbuild

    monkeypatch.setenv("MLXBUILD_HOME", str(hello_store.home.root))
    question = [{"role": "user", "content": "What is mlxbuild?"}]
    chosen: dict[str, Any] = {"think": False, "max_tokens": 60, "temperature": 0.7, "seed": 5}
    plain, drafted = mlxbuild.load("hello:none@1.0"), mlxbuild.load("hello:none@1.0", draft="hello:int4@1.0")
    assert text(drafted.chat(question, **chosen)) == text(plain.chat(question, **chosen))
    steps = [model.engine.run(model.engine.statistics).result().ticks for model in (drafted, plain)]
    assert steps[0] < 0.7 * steps[1]
