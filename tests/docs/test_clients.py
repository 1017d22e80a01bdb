"""The page of clients tells the versions that tests run, and no others."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from tests.clients import node

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
ALSO_NEEDED = {"zod", "@langchain/core", "futures", "serde_json", "tokio"}


def pinned() -> dict[str, str]:
    """The versions of the packages that tests of clients ask for, in each language."""
    found: dict[str, str] = {}
    for package in node.HERE.rglob("package.json"):
        if package.parent != node.HERE:  # the SDKs, which have pages of their own
            found |= json.loads(package.read_text())["dependencies"]
    for requirements in node.HERE.rglob("requirements.in"):
        found |= re.findall(r"^([\w-]+)(?:\[.*\])?==(\S+)$", requirements.read_text(), re.MULTILINE)
    for module in node.HERE.rglob("go.mod"):
        found |= re.findall(r"^require (\S+) v(\S+)$", module.read_text(), re.MULTILINE)
    for manifest in node.HERE.rglob("Cargo.toml"):
        dependencies = tomllib.loads(manifest.read_text())["dependencies"]
        found |= {name: dependency["version"].lstrip("=") for name, dependency in dependencies.items()}
    return found


def test_versions_are_the_pinned_ones() -> None:
    versions = {version for name, version in pinned().items() if name not in ALSO_NEEDED}
    assert set(re.findall(r"\d+\.\d+\.\d+", PAGE.replace("127.0.0.1", ""))) == versions
