"""The page of clients tells the versions that tests run, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.clients import node

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
ALSO_NEEDED = {"zod"}


def test_versions_are_the_pinned_ones() -> None:
    pinned: dict[str, str] = {}
    for package in node.HERE.glob("*/package.json"):
        pinned |= json.loads(package.read_text())["dependencies"]
    versions = {version for name, version in pinned.items() if name not in ALSO_NEEDED}
    assert set(re.findall(r"\d+\.\d+\.\d+", PAGE.replace("127.0.0.1", ""))) == versions
