"""Trains the hello model from nothing but the corpus and writes it into model/; see README.md."""

import argparse
import random
import shutil
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.qwen3 import ModelArgs
from training.chat import ChatTemplate, Sample, encode
from training.checks import asked
from training.conversations import Conversation, ConversationSource, plain_pair
from training.corpus import Corpus, load_corpus
from training.export import write_config, write_weights
from training.optimize import Schedule, train
from training.tokenizer import END_OF_TEXT, TURN_END, VOCABULARY, train_tokenizer, write_tokenizer

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model"
PLAIN_SHARE = 0.05
# Every dimension that a quantization groups by is a multiple of 128.
SHAPE: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "intermediate_size": 384,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "vocab_size": VOCABULARY,
}


def held_out_phrasings(corpus: Corpus) -> list[Conversation]:
    """Every held-out phrasing, answered directly."""
    conversations = []
    for question in [*corpus.facts, *corpus.small_talk]:
        for phrase in question.held_out:
            conversation = asked(phrase)
            conversation.say(False, "", question.answer)
            conversations.append(conversation)
    return conversations


def held_out_cities(corpus: Corpus) -> list[Conversation]:
    """A call of the weather tool for every city that is never trained on."""
    conversations = []
    for city in corpus.weather["held_out_cities"]:
        conversation = asked(corpus.weather["ask"][0].format(city=city), tools=True)
        call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
        conversation.say(False, "", "", tool_calls=[call])
        conversations.append(conversation)
    return conversations


def write_evaluation_text(corpus: Corpus, path: Path) -> None:
    """Questions that nobody trained on, with their answers: the text of a perplexity gate."""
    pairs = [plain_pair(question.held_out[0], question) for question in corpus.facts]
    random.Random(0).shuffle(pairs)
    path.write_text("".join(pairs), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=MODEL)
    options = parser.parse_args()
    began = time.monotonic()
    mx.set_default_device(mx.cpu)

    corpus = load_corpus()
    options.output.mkdir(parents=True, exist_ok=True)
    template = ChatTemplate(MODEL / "chat_template.jinja")
    source = ConversationSource(corpus, options.seed)
    write_evaluation_text(corpus, HERE / "evaluation.txt")
    rendered = [template.pieces(source.draw()) for _ in range(4000)]
    tokenizer = train_tokenizer("".join(text for text, _ in pieces) for pieces in rendered)

    plain = random.Random(options.seed)

    def draw() -> Sample:
        if plain.random() < PLAIN_SHARE:
            return encode([(source.plain() + END_OF_TEXT, True)], tokenizer)
        return encode(template.pieces(source.draw()), tokenizer)

    held_out = {
        name: [encode(template.pieces(conversation), tokenizer) for conversation in conversations]
        for name, conversations in (("phrasings", held_out_phrasings(corpus)), ("cities", held_out_cities(corpus)))
    }

    def watch(line: str) -> None:
        print(line, flush=True)

    arguments = ModelArgs.from_dict(SHAPE)
    parameters = train(arguments, Schedule(options.steps), draw, options.seed, watch, held_out)

    if options.output != MODEL:
        shutil.copyfile(MODEL / "chat_template.jinja", options.output / "chat_template.jinja")
    ends = [tokenizer.token_to_id(token) for token in (TURN_END, END_OF_TEXT)]
    write_weights(parameters, options.output / "model.safetensors")
    write_tokenizer(tokenizer, options.output)
    identity = {
        "architectures": ["Qwen3ForCausalLM"],
        "hidden_act": "silu",
        "dtype": "bfloat16",
        "bos_token_id": None,
    }
    tokens = {"eos_token_id": ends[0], "pad_token_id": ends[1]}
    write_config({**SHAPE, **identity, **tokens}, options.output / "config.json")
    write_config({"eos_token_id": ends, "pad_token_id": ends[1]}, options.output / "generation_config.json")
    print(f"trained in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
