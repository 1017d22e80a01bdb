"""Problems for programs and for CI; the text form is covered by the corpus of mistakes."""

from __future__ import annotations

import json
import pickle

from mlxbuild.registry.core.errors import Location
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.problems import Code, Problem, Snippet
from mlxbuild.toolchain.spec.report import render

PROBLEM = Problem(
    Code.VALUE,
    "100% wrong: `x`",
    Location("a,b:c.yaml", 3, 7),
    "did you mean `y`?",
    Snippet("key:  x", 7, 1, "expected y\nor z"),
)
FILE_ONLY = Problem(Code.EMPTY, "the recipe is empty", Location("ModelSpec.yaml"))


def test_json() -> None:
    assert json.loads(render([PROBLEM, FILE_ONLY], "json")) == [
        {
            "code": "spec-value",
            "level": "error",
            "message": "100% wrong: `x`",
            "file": "a,b:c.yaml",
            "line": 3,
            "column": 7,
            "end_column": 8,
            "note": "expected y\nor z",
            "hint": "did you mean `y`?",
        },
        {
            "code": "spec-empty",
            "level": "error",
            "message": "the recipe is empty",
            "file": "ModelSpec.yaml",
            "line": None,
            "column": None,
            "end_column": None,
            "note": None,
            "hint": None,
        },
    ]
    assert json.loads(render([], "json")) == []


def test_github_annotations_are_escaped() -> None:
    assert render([PROBLEM, FILE_ONLY], "github") == (
        "::error file=a%2Cb%3Ac.yaml,line=3,col=7,endColumn=8,title=spec-value"
        "::100%25 wrong: `x`%0Aexpected y%0Aor z%0Ahint: did you mean `y`?\n"
        "::error file=ModelSpec.yaml,title=spec-empty::the recipe is empty"
    )


def test_text_cannot_steer_the_terminal() -> None:
    bad = Problem(Code.VALUE, "a\x1b[31m", Location("f", 1, 1), None, Snippet("\x1b[2J\t:", 1, 99, "\r"))
    assert render([bad]).replace("\n", "").isprintable()


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SpecError((PROBLEM, FILE_ONLY))))
    assert error.problems == (PROBLEM, FILE_ONLY)
    assert error.message == "2 mistakes in a,b:c.yaml"
    assert error.diagnostics() == render([PROBLEM, FILE_ONLY])
