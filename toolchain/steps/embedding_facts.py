"""Determines how a model embeds texts, from its sentence-transformers files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.architecture import is_body, is_encoder
from mlxbuild.runtime.model.facts import EmbeddingFacts

MODULES_FILE = "modules.json"
POOLING_FILE = "1_Pooling/config.json"
PROMPTS_FILE = "config_sentence_transformers.json"
LENGTH_FILE = "sentence_bert_config.json"
EMBEDDING_FILES = (MODULES_FILE, POOLING_FILE, PROMPTS_FILE, LENGTH_FILE)
"""Files of a source that determine how it embeds, besides config.json."""

Pooling = Literal["mean", "cls", "last"]
_BY_SWITCH: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_BY_NAME: Mapping[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
_STEPS_KNOWN = ("Transformer", "Pooling", "Normalize")
_OF_ROBERTA = ("roberta", "xlm-roberta")


class UnknownPooling(UserError):
    """A model computes its embeddings in a way that is not supported."""

    code = "unknown-pooling"


def find_embedding(
    config: Mapping[str, Any], documents: Mapping[str, Any], chosen: Pooling | None = None
) -> EmbeddingFacts | None:
    """How the model embeds texts; None for a generative model.

    `documents` are the parsed JSON of the `EMBEDDING_FILES` that exist; `chosen` is the recipe's pooling.

    Raises:
        UnknownPooling: the model uses max pooling, several poolings at once, or layers after pooling; or it was trained
            with bidirectional attention but its architecture's code is causal, or the other way round.
    """
    encoder = is_encoder(config)
    if not (encoder or chosen or MODULES_FILE in documents or POOLING_FILE in documents):
        return None
    if bool(config.get("is_decoder")) if encoder else _reads_both_ways(config):
        raise UnknownPooling(
            "the model has causal attention and its architecture here does not, or the other way round",
            where="config.json",
        )
    steps = _steps(documents.get(MODULES_FILE))
    for step in steps:
        if step not in _STEPS_KNOWN:
            raise UnknownPooling(f"the model's embeddings go through a module `{step}`", where=MODULES_FILE)
    prompts = _object(documents.get(PROMPTS_FILE))
    texts = {name: text for name, text in _object(prompts.get("prompts")).items() if isinstance(text, str)}
    default = prompts.get("default_prompt_name")
    longest = _object(documents.get(LENGTH_FILE)).get("max_seq_length")
    return EmbeddingFacts(
        pooling=chosen or _pooling(documents.get(POOLING_FILE)) or ("mean" if encoder else "last"),
        is_encoder=encoder,
        normalizes="Normalize" in steps,
        longest=longest if isinstance(longest, int) and longest > 0 else None,
        prompts=texts,
        default_prompt=default if default in texts else None,
        lacks_head=lacks_head(config),
    )


def lacks_head(config: Mapping[str, Any]) -> bool:
    """Whether a model cannot generate text: it has no head of its own, and none tied to its embeddings."""
    return is_body(config) and config.get("tie_word_embeddings") is False


def _reads_both_ways(config: Mapping[str, Any]) -> bool:
    """Whether a decoder was trained with bidirectional attention, which its code in mlx-lm does not support."""
    return bool(config.get("use_bidirectional_attention")) or config.get("is_causal") is False


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The number of tokens that a RoBERTa accepts, as its first positions are not used; None for all other models."""
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id") or 0
    is_roberta = str(config.get("model_type")) in _OF_ROBERTA
    return positions - padding - 1 if is_roberta and isinstance(positions, int) and isinstance(padding, int) else None


def _steps(modules: Any) -> list[str]:
    listed = modules if isinstance(modules, Sequence) and not isinstance(modules, str) else ()
    types = (module.get("type") for module in listed if isinstance(module, Mapping))
    return [kind.rpartition(".")[2] for kind in types if isinstance(kind, str)]


def _pooling(document: Any) -> Pooling | None:
    if document is None:
        return None
    settings = _object(document)
    wanted = [name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    named = settings.get("pooling_mode")
    found = _BY_NAME.get(cast(str, named)) if named is not None else _BY_SWITCH.get(wanted[0] if wanted else "")
    if found is None or len(wanted) > 1:
        told = named or ", ".join(wanted) or "nothing"
        raise UnknownPooling(
            f"the model's pooling is {told}",
            where=POOLING_FILE,
            hint="mean, cls and last are supported; set one of them as the recipe's `pooling` if it fits",
        )
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
