"""The recording at the top of the README: sound, small, without scripts, and of commands that exist."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from mlxbuild.cli.program import COMMANDS

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "docs" / "recording.svg"


def test_the_recording_is_a_small_picture_without_scripts_or_fonts_from_elsewhere() -> None:
    text = RECORDING.read_text(encoding="utf-8")
    assert len(text) < 60_000
    root = ElementTree.fromstring(text)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {
        *("svg", "title", "style", "rect", "g", "text", "tspan")
    }
    assert not re.search(r"url\(|href|@import|https?://(?!www\.w3\.org/2000/svg)", text)


def test_it_shows_real_commands_from_the_recipe_to_the_answer() -> None:
    root = ElementTree.fromstring(RECORDING.read_text(encoding="utf-8"))
    commands = [element.text or "" for element in root.iter() if element.get("class") == "command"]
    named = re.findall(r"mlxbuild (\w+)", " ".join(commands))
    assert named == ["init", "plan", "create", "plan", "create", "why", "run"]
    assert set(named) <= set(COMMANDS)
    shown = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text"))
    assert "A lock is a file beside the spec that pins every source by its digest." in shown
    assert "system_prompt: none → 'Be brief.'" in shown
