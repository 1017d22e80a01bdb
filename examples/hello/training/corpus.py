"""The corpus as typed values: what is asked, what is answered; how it becomes conversations lives elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CORPUS = Path(__file__).resolve().parent.parent / "corpus"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to know: the phrasings to train on, those to measure with, and the one right answer."""

    topic: str
    ask: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str
    require: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """All text that the model learns from. `weather`, `unknown` and `conversation` are read as they stand."""

    facts: tuple[Question, ...]
    small_talk: tuple[Question, ...]
    wrappings: tuple[str, ...]
    unknown: dict[str, Any]
    weather: dict[str, Any]
    conversation: dict[str, Any]


def _read(name: str) -> Any:
    return yaml.safe_load((CORPUS / f"{name}.yaml").read_text(encoding="utf-8"))


def _question(entry: dict[str, Any], topic: str, ask: list[str], held_out: list[str]) -> Question:
    # An entry's own phrasings win: a held-out phrasing must never be trained on.
    held = tuple(dict.fromkeys([*entry["held_out"], *held_out]))
    asked = tuple(phrase for phrase in dict.fromkeys([*entry.get("also", []), *ask]) if phrase not in held)
    return Question(topic, asked, held, entry["answer"], entry["require"])


def _terms(forms: dict[str, list[str]]) -> list[Question]:
    def fill(forms_: list[str], entry: dict[str, Any]) -> list[str]:
        return [form.format(name=entry["name"], bare=entry["bare"]) for form in forms_]

    return [
        _question(entry, entry["name"], fill(forms["train"], entry), fill(forms["held_out"], entry))
        for entry in _read("terms")
    ]


def _commands(forms: dict[str, list[str]]) -> list[Question]:
    def fill(forms_: list[str], entry: dict[str, Any]) -> list[str]:
        return [form.format(command=entry["command"]) for form in forms_]

    return [
        _question(entry, f"mlxbuild {entry['command']}", fill(forms["train"], entry), fill(forms["held_out"], entry))
        for entry in _read("commands")
    ]


def _listed(name: str) -> list[Question]:
    return [_question(entry, entry["topic"], entry["ask"], []) for entry in _read(name)]


def load_corpus() -> Corpus:
    """Read the corpus. Raises ValueError when one phrasing has two answers, for no model can learn that."""
    forms = _read("forms")
    facts = [*_terms(forms["terms"]), *_commands(forms["commands"]), *_listed("questions")]
    small_talk = _listed("small-talk")
    answers: dict[str, str] = {}
    for question in [*facts, *small_talk]:
        if question.require not in question.answer:
            raise ValueError(f"{question.topic}: the answer lacks {question.require!r}")
        for phrase in [*question.ask, *question.held_out]:
            if answers.setdefault(phrase.lower(), question.answer) != question.answer:
                raise ValueError(f"{phrase!r} has two answers")
    return Corpus(
        facts=tuple(facts),
        small_talk=tuple(small_talk),
        wrappings=tuple(forms["wrappings"]),
        unknown=_read("unknown"),
        weather=_read("weather"),
        conversation=_read("conversation"),
    )
