"""The embedded example: its corpus is sound, its template only appends, its model answers under quantization."""

import json
import struct
import sys
from itertools import islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

HELLO = Path(__file__).resolve().parents[2] / "examples" / "hello"
MODEL = HELLO / "model"
sys.path.insert(0, str(HELLO))

from evaluate import evaluate  # noqa: E402
from training.chat import ChatTemplate, encode  # noqa: E402
from training.checks import WEATHER_TOOL, all_checks  # noqa: E402
from training.conversations import ConversationSource  # noqa: E402
from training.corpus import load_corpus  # noqa: E402
from training.tokenizer import train_tokenizer  # noqa: E402


def drawn(count: int) -> list[list[tuple[str, bool]]]:
    template = ChatTemplate(MODEL / "chat_template.jinja")
    source = ConversationSource(load_corpus(), seed=3)
    return [template.pieces(source.draw()) for _ in range(count)]  # raises when a turn rewrites the past


def test_no_held_out_phrasing_is_trained_on() -> None:
    corpus = load_corpus()
    questions = [*corpus.facts, *corpus.small_talk]
    asked = {phrase for question in questions for phrase in question.ask}
    held_out = {phrase for question in questions for phrase in question.held_out}
    assert len(corpus.facts) >= 40
    assert all(len(question.ask) >= 5 for question in questions)
    assert not asked & held_out
    assert not set(corpus.weather["cities"]) & set(corpus.weather["held_out_cities"])


def test_conversations_only_append_and_encode_as_their_whole_text() -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    for pieces in drawn(200):
        sample = encode(pieces, tokenizer)
        whole = "".join(text for text, _ in pieces)
        assert sample.tokens == tokenizer.encode(whole, add_special_tokens=False).ids
        assert tokenizer.decode(sample.tokens, skip_special_tokens=False) == whole


def test_the_tokenizer_is_the_same_again() -> None:
    texts = ["".join(text for text, _ in pieces) for pieces in drawn(300)]
    assert train_tokenizer(texts).to_str() == train_tokenizer(texts).to_str()


def test_a_city_has_the_same_tokens_in_a_sentence_and_in_json() -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    sentence, quoted, city = (
        tokenizer.encode(text, add_special_tokens=False).tokens
        for text in ("the weather in Reykjavik?", '{"city": "Reykjavik"}', "Reykjavik")
    )
    for tokens in (sentence, quoted):
        assert any(tokens[start : start + len(city)] == city for start in range(len(tokens)))


def test_the_checkpoint_is_small_canonical_and_free_of_code() -> None:
    assert not [path for path in MODEL.rglob("*") if path.suffix == ".py"]
    data = (MODEL / "model.safetensors").read_bytes()
    assert len(data) <= 4_000_000
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "mlx"}
    assert list(header) == sorted(header)
    assert all(entry["dtype"] == "BF16" for entry in header.values())
    assert all(size % 128 == 0 for entry in header.values() if len(entry["shape"]) == 2 for size in entry["shape"])


def test_mlx_lm_finds_tools_thinking_and_stops() -> None:
    from mlx_lm.tokenizer_utils import load as load_tokenizer

    tokenizer = load_tokenizer(MODEL, eos_token_ids=[1, 0])
    assert (tokenizer.think_start, tokenizer.think_end) == ("<think>", "</think>")
    assert (tokenizer.tool_call_start, tokenizer.tool_call_end) == ("<tool_call>", "</tool_call>")
    call = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
    assert tokenizer.tool_parser(f"\n{call}\n", [WEATHER_TOOL]) == json.loads(call)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert json.loads((MODEL / "generation_config.json").read_text())["eos_token_id"] == ends


def test_transformers_renders_the_template_as_training_did() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    template = ChatTemplate(MODEL / "chat_template.jinja")
    for check in islice(all_checks(load_corpus()), 0, None, 40):
        messages, tools = check.conversation.messages, check.conversation.tools
        switches = {"tools": tools, "enable_thinking": check.thinking, "add_generation_prompt": True}
        ours = template.render(messages, **switches)
        assert tokenizer.apply_chat_template(messages, tokenize=False, **switches) == ours


KNOWN = {
    "phrasings",
    "second turn",
    "thinking",
    "with a system prompt",
    "with unused tools",
    "out of scope",
    "weather without a tool",
}


@pytest.mark.parametrize("quantization", ["none", "int8", "int4"])
def test_answers_hold_under_quantization(quantization: str) -> None:
    score = evaluate(MODEL, quantization, every=37, show=True)
    known = [pair for group, pair in score.items() if group in KNOWN]
    right, asked = (sum(pair[index] for pair in known) for index in (0, 1))
    assert asked >= 40
    assert right == asked


def test_the_training_forward_pass_is_mlx_lm_s() -> None:
    import mlx.core as mx
    from mlx_lm import load
    from mlx_lm.models.qwen3 import ModelArgs
    from train import SHAPE
    from training.forward import forward

    with mx.stream(mx.cpu):
        model = load(str(MODEL))[0]
        model.set_dtype(mx.float32)
        inputs = mx.array([[7 * row + 3 * column for column in range(24)] for row in range(2)])
        difference = mx.abs(forward(model.parameters(), inputs, ModelArgs.from_dict(SHAPE)) - model.model(inputs))
        assert difference.max().item() < 1e-3
