"""`mlxbuild bench`: measures how fast a model answers one or several requests at once."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say_json, say_table
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.protocol.events import Chunk
from mlxbuild.runtime.protocol.requests import CompletionRequest
from mlxbuild.runtime.server.models.names import find_model
from mlxbuild.runtime.server.settings import ServerSettings

if TYPE_CHECKING:
    from mlxbuild.runtime.runner.client import Runner

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class InvalidStreams(UserError):
    """A list of stream counts is invalid."""

    code = "invalid-streams"


@dataclass(frozen=True, slots=True)
class BenchFigures:
    """The measurements with a number of concurrent streams."""

    streams: int
    tokens_per_second: float
    """The throughput of all streams together, from the first request to the last token."""
    first_token_seconds: float
    """The median time to first token."""
    slowest_first_token_seconds: float
    tokens: int


@app.command(cls=Command, epilog="mlxbuild bench hello --streams 1,4,16")
def bench(
    name: Annotated[str, typer.Argument(help="Name of an artifact.")],
    streams: Annotated[str, typer.Option(help="Concurrent requests; several counts with commas.")] = "1,4,16",
    tokens: Annotated[int, typer.Option(min=2, help="Number of tokens in an answer.")] = 128,
    prompt_words: Annotated[int, typer.Option("--prompt-words", min=1, help="Number of words in a prompt.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure tokens per second and time to first token, in a worker process like that of a server."""
    import asyncio

    counts = _counts(streams)
    figures = asyncio.run(_measure(name, counts, tokens, prompt_words))
    if as_json:
        say_json([{field: getattr(each, field) for field in each.__slots__} for each in figures])
        return
    say_table(
        ("STREAMS", "TOKENS/S", "FIRST TOKEN", "SLOWEST", "TOKENS"),
        [
            (
                str(each.streams),
                f"{each.tokens_per_second:.1f}",
                f"{each.first_token_seconds * 1000:.0f} ms",
                f"{each.slowest_first_token_seconds * 1000:.0f} ms",
                str(each.tokens),
            )
            for each in figures
        ],
    )
    tell("answers are sampled with seeds, and all prompts differ")


def _counts(written: str) -> list[int]:
    try:
        counts = [int(part) for part in written.split(",")]
    except ValueError:
        counts = []
    if not counts or not all(1 <= count <= 1024 for count in counts):
        raise InvalidStreams(f"`{written}` is not a list of stream counts", hint="write 1,4,16")
    return counts


async def _measure(name: str, counts: list[int], tokens: int, prompt_words: int) -> list[BenchFigures]:
    from mlxbuild.serving.assembly import assemble

    application = assemble(chosen_home(), ServerSettings())
    try:
        reference, _ = find_model(application.store, name)
        async with application.residency.lease(str(reference)) as lease:
            holding = lease.runner.loaded.holding
            tell(f"loaded in {lease.load_seconds:.2f} s; {holding.device}, {holding.dtype}, {holding.reason}")
            await _run(lease.runner, 1, tokens, prompt_words, first_seed=0)  # a warm-up, as compilation is not measured
            return [
                await _run(lease.runner, count, tokens, prompt_words, first_seed=1000 * number)
                for number, count in enumerate(counts, 1)
            ]
    finally:
        await application.residency.close()


async def _run(runner: Runner, streams: int, tokens: int, prompt_words: int, *, first_seed: int) -> BenchFigures:
    """Send a number of requests at once."""
    import asyncio

    async def ask(seed: int) -> tuple[float, int]:
        prompt = " ".join(f"word{seed}-{number}" for number in range(prompt_words))
        options = {"max_tokens": tokens, "temperature": 1.0, "seed": seed}
        asked, first, count = time.perf_counter(), 0.0, 0
        async for event in runner.answer(CompletionRequest(prompt, options=options)):
            if isinstance(event, Chunk) and event.token is not None:
                first = first or time.perf_counter() - asked
                count += 1
        return first, count

    begun = time.perf_counter()
    told = await asyncio.gather(*(ask(first_seed + number) for number in range(streams)))
    seconds = time.perf_counter() - begun
    firsts = [first for first, _ in told]
    total = sum(count for _, count in told)
    return BenchFigures(streams, total / seconds, statistics.median(firsts), max(firsts), total)
