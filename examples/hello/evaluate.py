"""Asks the hello model everything, greedily, under the named quantizations, and reports the right replies."""

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.nn.layers.quantized import quantize
from mlx_lm import batch_generate, load
from mlx_lm.utils import dequantize_model
from training.checks import all_checks
from training.corpus import load_corpus

MODEL = Path(__file__).resolve().parent / "model"
QUANTIZATIONS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "int8": {"mode": "affine", "bits": 8, "group_size": 64},
    "int4": {"mode": "affine", "bits": 4, "group_size": 64},
    "int4-32": {"mode": "affine", "bits": 4, "group_size": 32},
    "int4-128": {"mode": "affine", "bits": 4, "group_size": 128},
    "mxfp4": {"mode": "mxfp4", "bits": 4, "group_size": 32},
    "mxfp8": {"mode": "mxfp8", "bits": 8, "group_size": 32},
    "nvfp4": {"mode": "nvfp4", "bits": 4, "group_size": 16},
}
CHUNK = 64


def evaluate(
    model_folder: Path, quantization: str, every: int, show: bool, kernels: bool = False
) -> dict[str, tuple[int, int]]:
    """Right and asked per group of checks. A reply is right when it contains all that its check requires.

    The quantized weights are held dequantized, for MLX's quantized kernels are ten times slower on a CPU;
    `kernels` uses them all the same.
    """
    model, tokenizer = load(str(model_folder))[:2]
    rounding = QUANTIZATIONS[quantization]
    if rounding:
        quantize(model, **rounding)
        if not kernels:
            model = dequantize_model(model)
    checks = all_checks(load_corpus())[::every]
    score: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for start in range(0, len(checks), CHUNK):
        chunk = checks[start : start + CHUNK]
        prompts = [
            tokenizer.apply_chat_template(
                check.conversation.messages,
                tools=check.conversation.tools,
                add_generation_prompt=True,
                enable_thinking=check.thinking,
            )
            for check in chunk
        ]
        replies = batch_generate(model, tokenizer, prompts, max_tokens=160).texts
        for check, reply in zip(chunk, replies, strict=True):
            right = all(part in reply for part in check.require)
            before = score[check.group]
            score[check.group] = (before[0] + right, before[1] + 1)
            if show and not right:
                print(f"  {check.group}: {check.conversation.messages[-1]['content']!r}\n    -> {reply!r}")
    return dict(score)


def main() -> int:
    """Returns 1 when the share of right replies is below --least for any quantization."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quantizations", nargs="*", default=["none", "int8", "int4"], metavar="|".join(QUANTIZATIONS))
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--every", type=int, default=1, help="ask only every Nth question")
    parser.add_argument("--least", type=float, default=0.95, help="the share of right replies to reach")
    parser.add_argument("--show", action="store_true", help="print every wrong reply")
    parser.add_argument("--kernels", action="store_true", help="run MLX's quantized kernels (slow on a CPU)")
    options = parser.parse_args()
    mx.set_default_device(mx.cpu)
    failed = False
    for quantization in options.quantizations:
        score = evaluate(options.model, quantization, options.every, options.show, options.kernels)
        right, asked = (sum(pair[index] for pair in score.values()) for index in (0, 1))
        failed |= right < options.least * asked
        print(f"{quantization:8} {right:5}/{asked:<5} {right / asked:7.2%}")
        for group, (good, all_) in sorted(score.items()):
            print(f"    {group:28} {good:4}/{all_:<4}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
