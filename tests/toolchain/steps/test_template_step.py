"""The template step keeps a template and finds the facts, or says which line is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import Location, MlxbuildError
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.prompt import (
    TemplateBroken,
    TemplateEscapes,
    TemplateRefuses,
    TemplateTooCostly,
    UnknownTemplate,
    named,
)
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.steps.template import TEMPLATE_FILES, TemplateStep, UnreadableConfiguration
from tests.runtime.tiny_folders import byte_tokenizer

QWEN3 = (Path(__file__).parents[2] / "runtime" / "model" / "chat_templates" / "qwen3_like.jinja").read_text()
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "eos_token_id": 0,
}


class Folder:
    """A source whose files lie in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[Digest, Path] = {}

    def locate(self, digest: Digest) -> Path:
        return self.paths[digest]

    def add(self, name: str, content: Any) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = self.root / name
        path.write_bytes(data)
        digest = Digest.of_bytes(data)
        self.paths[digest] = path
        return str(digest)


class Run:
    """Runs the step on a tiny source, with other files where given."""

    def __init__(self, store: Store, root: Path) -> None:
        self.store, self.source = store, Folder(root)

    def outputs(
        self,
        kind: str = "inherit",
        value: str = "",
        files: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Blob]:
        contents: dict[str, Any] = {
            "config.json": CONFIG,
            "tokenizer.json": byte_tokenizer().to_str().encode(),
            "tokenizer_config.json": {"eos_token": {"content": "<|im_end|>"}, "bos_token": None},
            **(files or {}),
        }
        inputs = {name: self.source.add(name, content) for name, content in contents.items() if content is not None}
        parameters = {"template": {"kind": kind, "value": value}, "defaults": dict(defaults or {})}
        context = StepContext(self.store, self.source, lambda count: None, lambda: None)
        return TemplateStep().run(ActionRecord("template", 1, parameters, inputs), context)

    def facts(self, *args: Any, **kwargs: Any) -> ModelFacts:
        return ModelFacts.from_json(self.store.read(self.outputs(*args, **kwargs)["facts"].digest))

    def warnings(self, *args: Any, **kwargs: Any) -> list[str]:
        blob = self.outputs(*args, **kwargs).get("warnings")
        return [] if blob is None else json.loads(self.store.read(blob.digest))

    def template(self, *args: Any, **kwargs: Any) -> str | None:
        blob = self.outputs(*args, **kwargs).get("chat_template")
        return None if blob is None else self.store.read(blob.digest).decode()


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    (tmp_path / "source").mkdir()
    return Run(store, tmp_path / "source")


def test_facts_of_a_model_with_tools_and_thinking(run: Run) -> None:
    facts = run.facts("text", QWEN3)
    assert facts == ModelFacts(
        model_type="llama",
        architecture="LlamaForCausalLM",
        vocabulary_size=300,
        context_length=4096,
        stop_token_ids=(0, 1),
        takes_tools=True,
        tool_parser="json_tools",
        tool_call_start="<tool_call>",
        tool_call_end="</tool_call>",
        think_start="<think>",
        think_end="</think>",
        thinking_switch="enable_thinking",
        appends_only=False,
        first_rewritten="turns, thinking off",
        chat_template=Digest.of_bytes(QWEN3.encode()),
        special_tokens={"eos_token": "<|im_end|>"},
        kv_bytes_per_token=2 * 2 * 2 * 16 * 2,
    )


def test_a_model_without_template_has_none(run: Run) -> None:
    facts = run.facts()
    assert "chat_template" not in run.outputs()
    assert (facts.chat_template, facts.appends_only, facts.tool_parser, facts.think_start) == (None, None, None, None)
    assert facts.stop_token_ids == (0, 1)


def test_the_template_of_the_source_is_found_wherever_older_checkpoints_keep_it(run: Run) -> None:
    one, two = "{{ messages[0].content }}1", "{{ messages[0].content }}2"
    named_ones = [{"name": "tool_use", "template": two}, {"name": "default", "template": one}]
    assert run.template(files={"chat_template.jinja": one.encode()}) == one
    assert run.template(files={"tokenizer_config.json": {"chat_template": one}}) == one
    assert run.template(files={"tokenizer_config.json": {"chat_template": named_ones}}) == one
    assert run.template(files={"tokenizer_config.json": {"chat_template": named_ones[:1]}}) == two
    assert run.template(files={"chat_template.json": {"chat_template": one}}) == one
    both = {"chat_template.jinja": two.encode(), "tokenizer_config.json": {"chat_template": one}}
    assert run.template(files=both) == two
    assert run.template("named", "gemma", files=both) == named("gemma")
    assert run.template("text", "{{ 3 }}", files=both) == "{{ 3 }}"


def test_the_end_of_a_turn_stops_an_answer(run: Run) -> None:
    assert run.facts("named", "chatml", files={"tokenizer_config.json": {}}).stop_token_ids == (0, 1)
    as_text = run.facts("named", "llama3", defaults={"stops": ["User:", "<|eot_id|>"]})
    assert as_text.stop_texts == ("User:", "<|eot_id|>")
    several = run.facts(files={"generation_config.json": {"eos_token_id": [5, 3]}, "config.json": {"vocab_size": 9}})
    assert several.stop_token_ids == (1, 3, 5)


def test_the_recipe_may_set_another_context(run: Run) -> None:
    assert run.facts(defaults={"context": 128}).context_length == 128
    assert run.facts(files={"config.json": {**CONFIG, "max_position_embeddings": None}}).context_length is None
    nested = {"model_type": "gemma3", "text_config": {"max_position_embeddings": 77, "vocab_size": 5}}
    facts = run.facts(files={"config.json": nested})
    assert (facts.context_length, facts.vocabulary_size, facts.kv_bytes_per_token) == (77, 5, None)


@pytest.mark.parametrize(
    ("template", "first"),
    [
        (named("chatml"), None),
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", "turns"),
        ("{% for m in messages %}{{ m.content }}{{ 'x' if loop.last }}{% endfor %}", "turns"),
        (named("chatml").replace("if tools", "if tools and messages[-1].role == 'tool'"), "tool call"),
        (
            "{% for m in messages %}{{ m.reasoning_content if loop.revindex < 2 }}{{ m.content }}{% endfor %}",
            "thinking",
        ),
    ],
    ids=["chatml", "counts turns", "marks the last", "lists tools late", "forgets thoughts"],
)
def test_templates_that_rewrite_earlier_turns_are_found(run: Run, template: str, first: str | None) -> None:
    facts = run.facts("text", template)
    assert (facts.appends_only, facts.first_rewritten) == (first is None, first)


def test_the_parser_that_the_tokenizer_names_wins(run: Run) -> None:
    config = {"tool_parser_type": "mistral", "chat_template": QWEN3}
    facts = run.facts(files={"tokenizer_config.json": config})
    assert (facts.tool_parser, facts.tool_call_start) == ("mistral", "[TOOL_CALLS]")


@pytest.mark.parametrize(
    ("kind", "value", "files", "error", "where"),
    [
        ("text", "a\n{% if %}", {}, TemplateBroken, Location("chat_template.jinja", 2)),
        ("text", "\n\n{{ messages[0].a.b }}", {}, TemplateBroken, Location("chat_template.jinja", 3)),
        ("text", "{% if 0 %}\n{{ ''.__class__ }}{% endif %}", {}, TemplateEscapes, Location("chat_template.jinja", 2)),
        ("text", "{{ messages.clear() }}", {}, TemplateEscapes, Location("chat_template.jinja", 1)),
        ("text", "{{ raise_exception('never') }}", {}, TemplateRefuses, Location("chat_template.jinja", 1)),
        (
            "text",
            ENDLESS,
            {},
            TemplateTooCostly,
            ...,
        ),
        ("text", "{{ ('a' * 400000) | wordwrap(1) }}", {}, TemplateTooCostly, ...),
        ("named", "chatlm", {}, UnknownTemplate, ...),
        ("inherit", "", {"tokenizer_config.json": b"{"}, UnreadableConfiguration, "tokenizer_config.json"),
        ("inherit", "", {"config.json": b"[]"}, UnreadableConfiguration, "config.json"),
    ],
)
def test_what_cannot_be_used_fails_the_build(
    run: Run, kind: str, value: str, files: dict[str, Any], error: type[MlxbuildError], where: Any
) -> None:
    with pytest.raises(error) as caught:
        run.outputs(kind, value, files)
    assert where in (..., caught.value.where)


def test_what_breaks_on_tools_fails_only_where_the_recipe_wrote_it(run: Run) -> None:
    template = "{% if tools %}\n{{ tools[0].a.b }}{% endif %}" + named("gemma")
    with pytest.raises(TemplateBroken) as caught:
        run.facts("text", template)
    assert caught.value.where == Location("chat_template.jinja", 2)
    facts = run.facts(files={"chat_template.jinja": template.encode()})
    assert (facts.takes_tools, facts.appends_only) == (False, True)


LLAMA3 = """\
{%- for message in messages %}
    {%- if message.tool_calls %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + tool_call.name + '", ' }}{{- '"KEY": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
        {{- "<|im_end|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
        {%- if loop.first and tools %}
            {{- 'Respond in the format {"name": function name, "KEY": dictionary of argument name and its value}.' }}
            {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
        {%- endif %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""


@pytest.mark.parametrize(("key", "form"), [("parameters", "bare_json"), ("arguments", "bare_json_arguments")])
def test_calls_without_markers_are_known_by_what_the_template_writes(run: Run, key: str, form: str) -> None:
    facts = run.facts("text", LLAMA3.replace("KEY", key))
    assert (facts.takes_tools, facts.tool_parser, facts.tool_call_start) == (True, form, None)


def test_tools_whose_calls_nobody_can_read_are_no_capability(run: Run) -> None:
    unreadable = LLAMA3.replace("""'{"name": "' + tool""", """'CALL "' + tool""")
    facts = run.facts("text", unreadable)
    assert (facts.takes_tools, facts.tool_parser) == (False, None)
    assert run.warnings("text", unreadable) == [
        "the chat template lists tools, but it is not known how the model's calls are read: `tools` is no capability"
    ]


def test_tokens_beyond_the_embeddings_are_warned_of(run: Run) -> None:
    config = {**CONFIG, "vocab_size": 2}
    (warning,) = run.warnings("text", QWEN3, {"config.json": config})
    assert warning == (
        "the chat template writes `<|im_start|>`, token 2, but config.json speaks of 2 embeddings: does the tokenizer "
        "belong to the model?"
    )
    assert run.warnings("text", QWEN3) == []


def test_the_day_does_not_matter(run: Run) -> None:
    facts = run.facts("text", "{{ strftime_now('%d') }}{% for m in messages %}{{ m.content }}{% endfor %}")
    assert facts.appends_only


def test_a_tokenizer_without_its_json_is_converted(run: Run, tmp_path: Path) -> None:
    byte_tokenizer().model.save(str(tmp_path))
    files = {
        "tokenizer.json": None,
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "eos_token": "h"},
        "vocab.json": (tmp_path / "vocab.json").read_bytes(),
        "merges.txt": (tmp_path / "merges.txt").read_bytes(),
    }
    assert set(files) < set(TEMPLATE_FILES)
    vocabulary = json.loads(files["vocab.json"])
    assert run.facts(files=files).stop_token_ids == tuple(sorted({0, vocabulary["h"]}))
