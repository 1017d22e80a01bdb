"""Parses PEFT's `adapter_config.json`: keeps what affects the merged weights, and refuses what weights cannot express.

The fields are documented at https://huggingface.co/docs/peft/package_reference/lora (`LoraConfig`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.weights.peft.patterns import ModulePatterns, is_bounded

MERGE_HINT: Final = "merge it with PEFT (`merge_and_unload`, then `save_pretrained`) and build from the merged model"
SAVE_HINT: Final = "is the file complete? Save the adapter again with PEFT's `save_pretrained`"
_UNMERGEABLE_HINT: Final = "no weights can hold this, so it cannot be built in; train a LoRA adapter"

_UNMERGEABLE_TYPES: Final = frozenset(
    {
        "ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "POLY", "PREFIX_TUNING", "PROMPT_TUNING",
        "P_TUNING", "XLORA",
    }
)  # fmt: skip
_KINDS: Final = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA with biases",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
    "target_parameters": "LoRA on bare parameters, such as fused experts",
    "trainable_token_indices": "trained rows of the embedding",
    "layer_replication": "replicated layers",
    "megatron_config": "LoRA on layers of Megatron",
}
_UNMERGEABLE_KINDS: Final = {
    "alora_invocation_tokens": "activated LoRA, which applies after certain tokens only",
    "arrow_config": "Arrow, which chooses among adapters by the token",
}
_HARMLESS: Final = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
        "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core",
        "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "alpha_pattern",
        "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
    }
)  # fmt: skip
"""Fields that are read below, or do not matter after training: the adapter's tensors show which modules it changes."""

_KEEP_THE_BASE: Final = (True, False, None, "gaussian", "eva", "orthogonal")
"""Initializations that leave the base's weights unchanged; PiSSA and others subtract from them."""

_LARGEST: Final = 1e9
_EMBEDDING_MODULES: Final = ("embed_tokens", "lm_head")
"""Modules that are stored in full beside their updates if they are targets (`save_embedding_layers`)."""


class UnsupportedAdapter(UserError):
    """An adapter is of a kind that cannot be merged into weights."""

    code = "unsupported-adapter"


@dataclass(frozen=True, slots=True)
class PeftConfiguration:
    """The parts of an `adapter_config.json` that affect the merged weights."""

    rank: int
    alpha: float
    rank_stabilized: bool
    rank_pattern: ModulePatterns
    alpha_pattern: ModulePatterns
    modules_to_save: tuple[str, ...]

    @classmethod
    def read(cls, data: bytes, where: str) -> PeftConfiguration:
        """Parse an `adapter_config.json`.

        Raises:
            UnsupportedAdapter: it is not plain LoRA, or has unknown settings.
        """
        try:
            config = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise UnsupportedAdapter(
                f"adapter_config.json is not JSON ({error})", where=where, hint=SAVE_HINT
            ) from None
        if not isinstance(config, dict):
            raise UnsupportedAdapter("adapter_config.json is not a JSON object", where=where, hint=SAVE_HINT)
        return cls.of(config, where)

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> PeftConfiguration:
        """See `read`."""
        _check_kind(config, where)
        saved = config.get("modules_to_save") or []
        if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
            raise UnsupportedAdapter("`modules_to_save` is not a list of names", where=where, hint=SAVE_HINT)
        return cls(
            rank=int(_number(config.get("r"), "r", where, whole=True)),
            alpha=_number(config.get("lora_alpha"), "lora_alpha", where),
            rank_stabilized=bool(config.get("use_rslora")),
            rank_pattern=_patterns(config, "rank_pattern", where, whole=True),
            alpha_pattern=_patterns(config, "alpha_pattern", where),
            modules_to_save=tuple(saved),
        )

    def rank_of(self, module: str) -> int:
        """The rank of a module's update. `module` is its path in the base model."""
        return int(self.rank_pattern.value_of(module, self.rank))

    def scale_of(self, module: str) -> float:
        """The factor for the product of a module's two matrices (`LoraLayer.update_layer`)."""
        rank = self.rank_of(module)
        alpha = self.alpha_pattern.value_of(module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def saves(self, module: str) -> bool:
        """Whether a module, or one that contains it, is stored in full."""
        return any(f".{saved}." in f".{module}." for saved in (*self.modules_to_save, *_EMBEDDING_MODULES))


def _check_kind(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("peft_type")
    if kind is None and "fine_tune_type" in config:
        raise UnsupportedAdapter(
            "adapter_config.json is of mlx-lm, the weights are named as PEFT names them",
            where=where,
            hint="name the weights adapters.safetensors, if mlx-lm has written them",
        )
    if kind != "LORA":
        raise _refused(f"adapters of PEFT's type `{kind}`", where, merges=str(kind) not in _UNMERGEABLE_TYPES)
    for field, what in (_KINDS | _UNMERGEABLE_KINDS).items():
        if config.get(field):
            raise _refused(f"{what} (`{field}`)", where, merges=field in _KINDS)
    if (config.get("bias") or "none") != "none":
        raise _refused(f"trained biases (`bias: {config['bias']}`)", where)
    start = config.get("init_lora_weights")
    if start not in _KEEP_THE_BASE:
        raise _refused(f"LoRA that starts from changed base weights (`init_lora_weights: {start}`)", where)
    for field in sorted(config.keys() - _HARMLESS):
        if config[field]:
            raise _refused(f"what `{field}` stands for in adapter_config.json", where)


def _refused(what: str, where: str, *, merges: bool = True) -> UnsupportedAdapter:
    hint = MERGE_HINT if merges else _UNMERGEABLE_HINT
    return UnsupportedAdapter(
        f"{what} cannot be fused here: of PEFT's adapters, plain LoRA can", where=where, hint=hint
    )


def _number(value: Any, field: str, where: str, *, whole: bool = False) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    if not is_number or (whole and (value < 1 or value != int(value))):
        what = "not a whole number above zero" if whole else "not a number"
        raise UnsupportedAdapter(
            f"`{field}` of adapter_config.json is {what}: {value!r:.80}", where=where, hint=SAVE_HINT
        )
    return float(value)


def _patterns(config: Mapping[str, Any], field: str, where: str, *, whole: bool = False) -> ModulePatterns:
    written = config.get(field) or {}
    if not isinstance(written, dict):
        raise UnsupportedAdapter(f"`{field}` of adapter_config.json is not a map", where=where, hint=SAVE_HINT)
    for pattern in written:
        if not is_bounded(pattern):
            raise _refused(f"the regular expression `{pattern:.80}` in `{field}`", where)
    values = {
        pattern: _number(value, f"{field}.{pattern:.80}", where, whole=whole) for pattern, value in written.items()
    }
    try:
        return ModulePatterns.of(values)
    except ValueError as error:
        raise _refused(f"{error} in `{field}`", where) from None
