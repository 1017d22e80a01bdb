"""The gate `perplexity`, which checks how well the model predicts a text, absolutely or relative to its base."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.errors import StepError
from mlxbuild.runtime.engine.core.perplexity import WINDOW_TOKENS, perplexity
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.architecture import embedding_rows, is_encoder
from mlxbuild.runtime.model.load import load_weights
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.toolchain.gates.verdict import Verdict


class BaseNotMeasured(StepError):
    """A gate compares with the base model, but its perplexity is not known."""

    code = "base-not-measured"


def judge(
    model: LoadedModel,
    given: Mapping[str, Any],
    base_perplexity: Callable[[str], float] | None,
    checkpoint: Callable[[], None],
) -> Verdict:
    """Check the perplexity of `text`: at most `max`, and at most the fraction `max_increase_vs_base` above the base's.

    Raises:
        BaseNotMeasured: the perplexity of the base is needed, but `base_perplexity` is None.
    """
    value = _rounded(model.perplexity(given["text"], checkpoint=checkpoint))
    if not math.isfinite(value):
        return Verdict(False, "the perplexity is not a finite number: the weights are unusable", {"perplexity": None})
    bounds: dict[str, float] = {}
    measured: dict[str, Any] = {"perplexity": value}
    if "max" in given:
        bounds["max"] = given["max"]
    if "max_increase_vs_base" in given:
        if base_perplexity is None:
            raise BaseNotMeasured("the perplexity of the base model was not measured")
        base = measured["base_perplexity"] = base_perplexity(given["text"])
        measured["increase"] = _rounded(value / base - 1)
        bounds["base"] = base * (1 + given["max_increase_vs_base"])
    exceeded = [name for name, bound in bounds.items() if value > bound]
    told = f"perplexity {value:.4f}"
    if "increase" in measured:
        told += f", {measured['increase']:+.2%} against the base's {measured['base_perplexity']:.4f}"
    if exceeded:
        told += f"; the bound is {min(bounds[name] for name in exceeded):.4f}"
    return Verdict(not exceeded, told, measured)


def _rounded(value: float) -> float:
    """Round to six significant digits, because the last ones differ between matrix libraries."""
    return float(f"{value:.6g}")


def measure_perplexity(
    folder: Path, text: str, *, window: int = WINDOW_TOKENS, checkpoint: Callable[[], None] = lambda: None
) -> float:
    """The perplexity of a text for a model folder that is not an artifact, used for the base. Six digits, finite.

    Raises:
        UnsupportedArchitecture, WeightsUnreadable, TokenizerUnreadable: the model cannot be loaded.
        PromptUnusable: the text has fewer than two tokens, or tokens that the model does not know.
        BaseNotMeasured: the model computes NaN or infinity, or does not generate text.
    """
    tokenizer = Tokenizer.open(folder)
    tokens = tokenizer.encode(text, add_special_tokens=True)
    weights = load_weights(folder)
    if is_encoder(weights.config):
        raise BaseNotMeasured("a model that only turns texts into vectors has no perplexity")
    rows = embedding_rows(weights.config) or tokenizer.vocabulary_size
    value = _rounded(perplexity(weights.model, tokens, rows=rows, window=window, checkpoint=checkpoint))
    if not math.isfinite(value):
        raise BaseNotMeasured("the perplexity of the base is not a finite number: its weights are unusable")
    return value
