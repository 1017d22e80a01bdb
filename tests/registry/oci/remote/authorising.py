"""Credentials as people write them, right ones and wrong ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

from mlxbuild.registry.oci.remote.client import Remote
from tests.registries import PASSWORD, USER

Open = Callable[..., Remote]
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
WRONG = base64.b64encode(f"{USER}:wrong".encode()).decode()


def write_config(folder: Path, **content: object) -> None:
    (folder / "config.json").write_text(json.dumps(content))
