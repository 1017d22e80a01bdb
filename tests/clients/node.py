"""Runs JavaScript with clients of others, which are installed once from the lock file beside the script."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests import real_tools

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "clients"


def run(script: Path, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """Run an ES module; what it prints is JSON, and is returned.

    `import` finds the packages of `package.json` because the script is run from a copy beside them.
    """
    node = real_tools.find("node")
    folder = installed(script.parent)
    copy = folder / script.name
    if not copy.exists() or copy.read_bytes() != script.read_bytes():
        temporary = folder / f"{script.name}.{os.getpid()}"
        shutil.copyfile(script, temporary)
        temporary.replace(copy)
    done = subprocess.run(
        [node, str(copy), *arguments], capture_output=True, text=True, timeout=240, env=os.environ | (environment or {})
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def installed(source: Path) -> Path:
    """The folder with the `node_modules` that the lock file in `source` names; its own name changes with that file."""
    npm = real_tools.find("npm")
    lock = (source / "package-lock.json").read_bytes()
    folder = CACHE / hashlib.sha256(lock).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = folder / "installed"
        if not done.exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(source / name, folder / name)
            subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=600,
            )
            done.touch()
    return folder
