"""How many tokens the engine writes beside a bare `BatchGenerator`, and how it treats those who wait meanwhile."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.finding import Finding
from benchmarks.measurement import Cost, middle, run, side_by_side
from benchmarks.servers import OPENBLAS
from benchmarks.workplace import OFFLINE, Home, fresh_home

_HELLO = Path(__file__).parent.parent / "examples" / "hello"
_ANSWER_TOKENS = 96
_SEED_ROUNDS = 3
"""Seeded and unseeded answers are computed alike, so it takes more rounds to tell that from the machine's moods."""
_RANDOM: Mapping[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
_RUNNING = 4
_USUAL_TOKENS = 24
_MOST_LONG_RUNS = 2


def measure(runs: int) -> Iterator[Finding]:
    """Throughput on the example, then waiting times on a random model with a long context, then a cold start."""
    with fresh_home() as home:
        home.run("create", "-f", _HELLO, "--locked")
        for variant in ("none", "int4"):
            yield from _throughput(home, variant, runs)
        yield from _cold_start(home, runs)
        yield from _waiting(home, runs)


def _throughput(home: Home, variant: str, runs: int) -> Iterator[Finding]:
    model = _open(home, f"hello:{variant}")
    text = "What is a lock? Tell me about the registry, and how a recipe becomes an artifact. " * 2
    base = model.tokenize(text)
    for streams in (1, 8, 16):
        prompts = [base[: 20 + number] for number in range(streams)]
        ours, peers = side_by_side(
            runs, partial(_engine_speed, model.engine, prompts), partial(_bare_speed, model, prompts)
        )
        what = f"engine, hello:{variant}, {streams} streams: speed"
        yield Finding(what, "tokens/s", median(ours), 0.95, median(peers), "bare BatchGenerator", at_least=True)
    prompts = [base[: 20 + number] for number in range(8)]
    drawing = {"temperature": 0.8, "top_p": 0.9, "top_k": 40}
    seeded, unseeded = side_by_side(
        runs * _SEED_ROUNDS,
        lambda: _engine_speed(model.engine, prompts, **drawing, seed=1),
        lambda: _engine_speed(model.engine, prompts, **drawing),
    )
    what = f"engine, hello:{variant}, 8 streams with seeds: speed"
    yield Finding(what, "tokens/s", median(seeded), 0.95, median(unseeded), "without seeds", at_least=True)
    model.close()


def _waiting(home: Home, runs: int) -> Iterator[Finding]:
    engine = _random_engine(_open(home, "hello:none").tokenizer)
    prompt = [place % 900 + 7 for place in range(2000)]
    cold, warm = [], []
    for number in range(runs + 1):
        beginning = [number, *prompt[1:]]
        cold.append(_first_token_seconds(engine, [*beginning, 1, 2]))
        warm.append(_first_token_seconds(engine, [*beginning, 3, 4]))
    what = "engine: first token after a prefix of 2,000 tokens that was there before"
    yield Finding(what, "s", median(warm[1:]), 0.15, median(cold[1:]), "cold")
    gaps = [_gaps(engine, number) for number in range(min(runs, _MOST_LONG_RUNS))]
    what = "engine: longest gap of running answers while a prompt of 4,000 tokens is read"
    yield Finding(
        what, "s", median(long for long, _ in gaps), 3.0, median(usual for _, usual in gaps), "usual gap alone"
    )
    engine.close()


def _random_engine(tokenizer: Any) -> Any:
    """An engine over a random model with a long context, in float32."""
    import mlx.core as mx

    from mlxbuild.runtime.engine.core.engine import Engine
    from mlxbuild.runtime.engine.core.limits import Limits
    from mlxbuild.runtime.model.architecture import model_classes

    model_class, arguments_class = model_classes(_RANDOM)
    model = model_class(arguments_class.from_dict(_RANDOM))
    mx.eval(model.parameters())
    gc.collect()
    gc.freeze()  # as a runner does when its model is loaded
    return Engine(model, tokenizer, Limits().resolved())


def _cold_start(home: Home, runs: int) -> Iterator[Finding]:
    folder = _open(home, "hello:none").folder
    ask = ("What is a lock?", "--max-tokens", "32")
    peer = [Path(sys.executable).with_name("mlx_lm.generate"), "--model", folder, "--prompt", *ask]
    ours, peers = side_by_side(
        runs,
        lambda: home.run("run", "hello:none", *ask),
        lambda: run(peer, environment={**OFFLINE, "LD_PRELOAD": OPENBLAS}),
    )
    what = "run from cold: wall"
    yield Finding(what, "s", middle(ours, _wall), 1.1, middle(peers, _wall), "mlx_lm.generate")


def _wall(cost: Cost) -> float:
    return cost.wall_seconds


def _open(home: Home, name: str) -> Any:
    """A model without a prefix cache: no side may know a prompt from before."""
    from mlxbuild.registry.core import home as places
    from mlxbuild.registry.core.reference import Reference
    from mlxbuild.registry.store.layout import Store
    from mlxbuild.runtime.engine.core.limits import Limits
    from mlxbuild.runtime.loaded_model import LoadedModel

    store = Store.open(places.Home(home.folder))
    digest = store.tags.resolve(Reference.parse(name))
    return LoadedModel.open(store, digest, limits=Limits(prefix_bytes=0))


def _submit(engine: Any, tokens: Sequence[int], count: int, take: Callable[[float, bool], None], **options: Any) -> Any:
    """Ask for so many tokens, whatever they are; `take` gets the time of each, and then that of the end.

    Returns the ticket.
    """
    from mlxbuild.runtime.engine.core.options import Options
    from mlxbuild.runtime.engine.core.prepared_request import Prepared

    def deliver(events: Sequence[Any]) -> None:
        now = time.perf_counter()
        for event in events:
            if getattr(event, "ending", None) is not None:
                take(now, True)
            elif getattr(event, "token", None) is not None:
                take(now, False)

    return engine.submit(Prepared(tuple(tokens), Options(max_tokens=count, **options), limit=count), deliver)


def _engine_speed(engine: Any, prompts: Sequence[Sequence[int]], **options: Any) -> float:
    """Tokens a second, prompts included in the time. Text, too, is made of them."""
    over = threading.Semaphore(0)
    begun = time.perf_counter()
    for prompt in prompts:
        _submit(engine, prompt, _ANSWER_TOKENS, lambda _, last: over.release() if last else None, **options)
    for _ in prompts:
        over.acquire()
    return len(prompts) * _ANSWER_TOKENS / (time.perf_counter() - begun)


def _bare_speed(model: Any, prompts: Sequence[Sequence[int]]) -> float:
    """mlx-lm's loop over the same weights; its tokens are only counted."""
    import mlx.core as mx
    from mlx_lm.generate import BatchGenerator

    begun, count = time.perf_counter(), 0
    stream = mx.default_stream(mx.default_device())
    generator = BatchGenerator(model.weights.model, max_tokens=_ANSWER_TOKENS, stream=stream)
    generator.insert([list(prompt) for prompt in prompts])
    while responses := generator.next_generated():
        count += len(responses)
    generator.close()
    return count / (time.perf_counter() - begun)


def _first_token_seconds(engine: Any, tokens: Sequence[int]) -> float:
    begun, times, over = time.perf_counter(), [], threading.Event()

    def take(now: float, last: bool) -> None:
        times.append(now)
        if last:
            over.set()

    _submit(engine, tokens, 2, take)
    over.wait()
    return times[0] - begun


def _gaps(engine: Any, number: int) -> tuple[float, float]:
    """The longest gap between two tokens of running answers while a long prompt is read, and the usual one.

    Answers slow down as they get longer, so the usual gap is the median over as many tokens of the same answers when
    nothing is read beside them.
    """
    loaded = threading.Event()
    with _running(engine, number) as times:
        while len(times) < _USUAL_TOKENS:
            time.sleep(0.01)
        begun = len(times)
        _submit(engine, [number, 9] * 2000, 1, lambda *_: loaded.set())
        loaded.wait()
        ended = len(times)
        longest = max(_between(times)[begun - 1 : ended])
    with _running(engine, number) as times:
        while len(times) < ended:
            time.sleep(0.01)
        return longest, median(_between(times)[begun - 1 : ended])


@contextmanager
def _running(engine: Any, number: int) -> Iterator[list[float]]:
    """Answers on their way; gives the times of the tokens of one."""
    times: list[float] = []
    tickets = [_submit(engine, [7, number], 3000, lambda now, _: times.append(now))]
    tickets += [_submit(engine, [stream, number], 3000, lambda *_: None) for stream in range(1, _RUNNING)]
    yield times
    for ticket in tickets:
        engine.cancel(ticket)


def _between(times: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]
