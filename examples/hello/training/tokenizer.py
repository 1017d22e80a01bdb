"""The model's byte-level BPE tokenizer: how it is trained and written."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 1024
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKUP = ("<think>", "</think>", "<tool_call>", "</tool_call>")

# Capitalized words and digits stand without the blank before them: a city or a temperature has the same
# tokens in a sentence and inside JSON quotes, so that a tiny model can copy it.
# An end of line is looked for from the first blank of a row alone: from each of them, it took the square of the row.
WORDS = r" ?\p{Ll}+|\p{Lu}\p{L}*| ?[\p{Lo}\p{Lm}\p{Lt}]+|\p{N}|(?<!\s)\s*[\r\n]+| ?[^\s\p{L}\p{N}]+|\s"


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learn the merges. The same texts in the same order give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), behavior="isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[
            *(AddedToken(token, special=True, normalized=False) for token in (END_OF_TEXT, TURN_START, TURN_END)),
            *(AddedToken(token, special=False, normalized=False) for token in MARKUP),
        ],
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, with sorted keys."""
    _write_json(folder / "tokenizer.json", json.loads(tokenizer.to_str()))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": TURN_END,
            "model_max_length": 2048,
            "pad_token": END_OF_TEXT,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": None,
        },
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
