"""Variables that look as ours and are not are told of; those that anything reads are known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlxbuild.cli.program import run
from mlxbuild.configuration.form import ServeForm
from mlxbuild.configuration.unknown_variables import KNOWN, unknown_variables

ROOT = Path(__file__).parents[3]
MISSPELT = "nothing reads the variable MLXBUILD_KEEPALIVE; did you mean MLXBUILD_KEEP_ALIVE?"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("MLXBUILD_KEEPALIVE", [MISSPELT]),
        ("MLXBUILD_REGISTRY_READ_SECOND", ["nothing reads the variable MLXBUILD_REGISTRY_READ_SECOND; did you mean "]),
        ("MLXBUILD_XQZ\n", [r"nothing reads the variable MLXBUILD_XQZ\n"]),
        ("OLLAMA_KEEPALIVE", []),
        ("MLXBUILD", []),
    ],
)
def test_what_nothing_reads_is_told_with_the_closest_name(name: str, told: list[str]) -> None:
    sentences = unknown_variables(["PATH", *KNOWN, name])
    assert len(sentences) == len(told)
    for sentence, expected in zip(sentences, told, strict=True):
        assert sentence.startswith(expected)


def test_every_variable_that_the_code_names_is_known() -> None:
    named = set[str]()
    for floor in ("registry", "runtime", "toolchain", "mlxbuild/cli", "mlxbuild/configuration", "mlxbuild/serving"):
        for file in (ROOT / floor).rglob("*.py"):
            named.update(re.findall(r"\bMLXBUILD_[A-Z_]*[A-Z]\b", file.read_text("utf-8")))
    assert named <= KNOWN
    assert {f"MLXBUILD_{key.upper()}" for key in ServeForm.model_fields} < KNOWN


@pytest.mark.parametrize("words", [["config", "show"], ["serve", "--host", "0.0.0.0", "--api-key"]])
def test_commands_that_read_settings_warn(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLXBUILD_HOME", str(tmp_path))
    monkeypatch.setenv("MLXBUILD_KEEPALIVE", "1h")
    run(words)  # no server begins: it has no keys
    assert f"warning: {MISSPELT}\n" in capsys.readouterr().err
