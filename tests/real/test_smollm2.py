"""SmolLM2 built, verified, asked and talked with, as a person does at the command line."""

from __future__ import annotations

from tests.mlxbuild.conftest import CommandLine

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."


def test_it_is_built_once_and_sound(smollm2: CommandLine) -> None:
    assert smollm2.ran() == []
    for variant in ("int8", "none"):
        assert smollm2("verify", f"smol:{variant}").code == 0
    assert "parameters: 134.5M" in smollm2("show", "smol:int8").out


def test_it_answers(smollm2: CommandLine) -> None:
    for variant in ("int8", "none"):
        done = smollm2("run", f"smol:{variant}", QUESTION, "--max-tokens", "32")
        assert (done.code, done.out.strip()) == (0, ANSWER), done.err


def test_it_remembers_what_was_said_before(smollm2: CommandLine) -> None:
    done = smollm2("chat", "smol:int8", "--max-tokens", "12", stdin=f"My name is Ada.\nWhat is my name?\n{QUESTION}\n")
    assert done.code == 0, done.err
    assert "Ada" in done.out
    assert "Paris" in done.out


def test_text_beyond_a_few_bytes(smollm2: CommandLine) -> None:
    done = smollm2("run", "smol:none", "Write one sentence about 東京 and naïve cafés 🍵.", "--max-tokens", "12")
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "\ufffd" not in done.out
