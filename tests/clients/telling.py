"""Runs a program that tells what it got from our server: as JSON, on its standard output."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any


def told(*command: str, environment: dict[str, str] | None = None) -> Any:
    """What the program told when it had run to its end."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | (environment or {}))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
