"""A form that would compile for minutes, or break the process that compiles it, is refused in its time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mlxbuild.runtime.engine.structured_output import trial
from mlxbuild.runtime.engine.structured_output.answer_grammar import answer_grammar
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.protocol.requests import AnswerFormat
from mlxbuild.runtime.rendering.limits import Limits
from tests.runtime.engine.schema_walks import FACTS, VOCABULARY

SLOW: Mapping[str, AnswerFormat] = {
    "names that are told apart": AnswerFormat(
        {"type": "object", "patternProperties": {f"^p{number}[a-z]*$": {} for number in range(500)}}
    ),
    "remainders in a grammar": AnswerFormat(grammar='start: %json {"type": "integer", "multipleOf": 999979}'),
    "a row of short repetitions": AnswerFormat(grammar=f"start: /{'.{0,50}' * 5000}/"),
    "many rules of GBNF": AnswerFormat(
        grammar="\n".join([*(f'r{n} ::= "a" r{n + 1}?' for n in range(3000)), 'r3000 ::= "b"', "root ::= r0"])
    ),
    "lines without an end": AnswerFormat(grammar="\n" * 150_000),
}


def constrain(form: AnswerFormat) -> None:
    VOCABULARY.constrain(answer_grammar(FACTS, VOCABULARY, format=form))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", SLOW)
def test_what_compiles_too_long_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_LIMITS", Limits(seconds=0.1))
    with pytest.raises(FormatNotSupported, match=r"more than 0\.1 s of processor time") as caught:
        constrain(SLOW[name])
    assert "simplify" in (caught.value.hint or "")


def test_what_crashes_the_compiler_is_refused() -> None:
    rules = "\n".join(f'r{number}: "a" r{number + 1}?' for number in range(7000))
    with pytest.raises(FormatNotSupported, match="ended by signal SIG"):
        constrain(AnswerFormat(grammar=f'start: r0\n{rules}\nr7000: "b"'))
    constrain(AnswerFormat(grammar='start: "a" | "b"'))


def test_tokens_are_those_of_the_model() -> None:
    stop = FACTS.stop_token_ids[0]
    constrain(AnswerFormat(grammar=f'start: "a" <[{stop}]>'))
    constrain(AnswerFormat(grammar=f"start: <[{FACTS.vocabulary_size - 1}]>"))
    with pytest.raises(FormatNotSupported, match="Token range end too large"):
        constrain(AnswerFormat(grammar=f"start: <[{FACTS.vocabulary_size}]>"))


def test_grammars_of_both_syntaxes_are_taken() -> None:
    assert trial.as_lark('root ::= "yes" | "no"').split() == ["%llguidance", "{}", "start:", '"yes"', "|", '"no"']
    assert trial.as_lark('start: "yes"') == 'start: "yes"'
    with pytest.raises(FormatNotSupported, match="neither GBNF nor Lark: Expected ::= at line 1"):
        trial.as_lark("yes or no")
