"""The training loop: AdamW with a cosine schedule, quantization noise in its last part; data come as samples."""

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np
from mlx.utils import tree_map
from mlx_lm.models.qwen3 import Model, ModelArgs

from training.chat import Sample
from training.forward import cross_entropy, forward

Parameters = dict[str, Any]
Rounding = dict[str, Any] | None
# How often each rounding is met once quantization noise is on: the model must answer under all of them.
ROUNDINGS: tuple[tuple[Rounding, int], ...] = (
    (None, 15),
    ({"mode": "affine", "bits": 4, "group_size": 64}, 50),
    ({"mode": "affine", "bits": 4, "group_size": 128}, 10),
    ({"mode": "mxfp4", "bits": 4, "group_size": 32}, 15),
    ({"mode": "nvfp4", "bits": 4, "group_size": 16}, 10),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast. `quantize_from` is the share of the steps that run at full precision first."""

    steps: int
    batch_tokens: int = 2048
    warmup: int = 100
    peak: float = 3e-3
    floor: float = 5e-5
    quantize_from: float = 0.5

    def rate(self, step: int) -> float:
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        part = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * part))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of equal length: inputs (rows, length), the flat positions to learn, their targets and weights."""

    inputs: mx.array
    positions: mx.array
    targets: mx.array
    weights: mx.array


def make_batch(samples: list[Sample]) -> Batch:
    """Pad rows to a multiple of 32 tokens and learned positions to a multiple of 256: few shapes, few buffers."""
    length = -(-max(len(sample.tokens) - 1 for sample in samples) // 32) * 32
    inputs = np.zeros((len(samples), length), np.int32)
    positions: list[int] = []
    targets: list[int] = []
    for row, sample in enumerate(samples):
        inputs[row, : len(sample.tokens) - 1] = sample.tokens[:-1]
        for index in range(1, len(sample.tokens)):
            if sample.learn[index]:
                positions.append(row * length + index - 1)
                targets.append(sample.tokens[index])
    padding = -len(positions) % 256
    weights = [1.0] * len(positions) + [0.0] * padding
    return Batch(
        mx.array(inputs), mx.array(positions + [0] * padding), mx.array(targets + [0] * padding), mx.array(weights)
    )


def batches(draw: Callable[[], Sample], tokens: int, rng: random.Random) -> Iterator[Batch]:
    """Endless batches of about `tokens` tokens, rows of like length together."""
    while True:
        pool = sorted((draw() for _ in range(768)), key=lambda sample: len(sample.tokens))
        groups: list[list[Sample]] = [[]]
        for sample in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(sample.tokens) > tokens:
                groups.append([])
            groups[-1].append(sample)
        rng.shuffle(groups)
        for group in groups:
            yield make_batch(group)


def rounded(parameters: Parameters, rounding: Rounding) -> Parameters:
    """Parameters as the saved and quantized model will have them; gradients pass straight through."""

    def one(value: mx.array) -> mx.array:
        stored = value.astype(mx.bfloat16)
        if rounding is not None and value.ndim == 2:
            stored = mx.dequantize(*mx.quantize(stored, **rounding), **rounding)
        return value + mx.stop_gradient(stored.astype(mx.float32) - value)

    result: Parameters = tree_map(one, parameters)
    return result


def logits_at(parameters: Parameters, batch: Batch, shape: ModelArgs) -> mx.array:
    """Logits of the learned positions only: the vocabulary is the dearest part of a tiny model."""
    hidden = forward(parameters, batch.inputs, shape)
    embeddings: mx.array = parameters["model"]["embed_tokens"]["weight"]
    return hidden.reshape(-1, shape.hidden_size)[batch.positions] @ embeddings.T


def exact(parameters: Parameters, shape: ModelArgs, samples: list[Sample], rounding: Rounding) -> float:
    """Share of the samples whose learned tokens would all come out under greedy decoding."""
    stored = rounded(parameters, rounding)
    right = 0
    for start in range(0, len(samples), 32):
        chunk = samples[start : start + 32]
        batch = make_batch(chunk)
        wrong = (mx.argmax(logits_at(stored, batch, shape), -1) != batch.targets) & (batch.weights > 0)
        rows = np.array(batch.positions // batch.inputs.shape[1])[np.array(wrong)]
        right += len(chunk) - len(set(rows.tolist()))
    return right / len(samples)


def train(
    shape: ModelArgs,
    schedule: Schedule,
    draw: Callable[[], Sample],
    seed: int,
    watch: Callable[[str], None],
    held_out: dict[str, list[Sample]],
) -> Parameters:
    """Train a fresh model; returns its float32 parameters. `watch` gets a line of progress now and then."""
    mx.random.seed(seed)
    rng = random.Random(seed)
    parameters: Parameters = Model(shape).parameters()
    optimizer = optimizers.AdamW(schedule.peak, betas=[0.9, 0.98], weight_decay=0.02, bias_correction=True)
    optimizer.init(parameters)

    def loss(current: Parameters, batch: Batch, rounding: Rounding, noisy: bool) -> mx.array:
        used = rounded(current, rounding) if noisy else current
        losses = cross_entropy(logits_at(used, batch, shape), batch.targets)
        return (losses * batch.weights).sum() / batch.weights.sum()

    step_of = mx.value_and_grad(loss)
    clip: Callable[..., Any] = optimizers.clip_grad_norm
    began, recent = time.monotonic(), 0.0
    source = batches(draw, schedule.batch_tokens, rng)
    for step in range(schedule.steps):
        noisy = step >= schedule.quantize_from * schedule.steps
        rounding = rng.choices([r for r, _ in ROUNDINGS], [w for _, w in ROUNDINGS])[0]
        value, gradients = step_of(parameters, next(source), rounding, noisy)
        gradients, _ = clip(gradients, max_norm=1.0)
        optimizer.learning_rate = schedule.rate(step)
        parameters = optimizer.apply_gradients(gradients, parameters)
        mx.eval(parameters, optimizer.state, value)
        current = float(value)
        recent = current if step == 0 else 0.98 * recent + 0.02 * current
        if (step + 1) % 100 == 0:
            watch(f"step {step + 1}/{schedule.steps} loss {recent:.4f} {time.monotonic() - began:.0f}s")
        if (step + 1) % 500 == 0 or step + 1 == schedule.steps:
            for name, samples in held_out.items():
                plain, int4 = (exact(parameters, shape, samples, rounding) for rounding in (None, ROUNDINGS[1][0]))
                watch(f"held out {name}: bfloat16 {plain:.1%}, int4 {int4:.1%}")
    return parameters
