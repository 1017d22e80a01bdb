"""Records the terminal at the top of the README, from real runs of the commands. Run: `python docs/record.py`.

Each frame of `docs/recording.svg` is one command with what it printed; times, which differ between runs, become `…`.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

PAGE = Path(__file__).with_name("recording.svg")
_MODEL = Path(__file__).parents[1] / "examples" / "hello" / "model"
_FRAMES = (
    ("mlxbuild init ./tiny", 3),
    ("mlxbuild plan", 5),
    ("mlxbuild create", 5),
    ("""sed -i 's/# system_prompt:.*/system_prompt: Be brief./; s/"1.0"/"1.1"/' ModelSpec.yaml; mlxbuild plan""", 6),
    ("mlxbuild create --progress none && mlxbuild why tiny:int4 pack", 6),
    ('mlxbuild run tiny:int4 "What is a lock?"', 5),
)
"""Commands, and for how many seconds each frame is shown."""
_ROWS, _COLUMNS = 16, 108
_CHARACTER, _LINE, _MARGIN = 7.85, 18, 14
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_TIME = re.compile(r"\b\d+(\.\d+)? s\b|\b\d+ min \d\d s\b")
_STYLE = """\
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d7dae0;white-space:pre}
.prompt{fill:#7ec699}.command{fill:#fff}.frame{opacity:0}.f2{opacity:1}"""
"""Where nothing moves, the build is shown."""


def record() -> str:
    """The recording as an SVG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(_MODEL, folder / "tiny")
        frames = [(command, _shown(_on_terminal(command, folder)), seconds) for command, seconds in _FRAMES]
    return _svg(frames)


def _on_terminal(command: str, folder: Path) -> str:
    """What a command prints on a terminal of its own."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLXBUILD_", "CI"))}
    more = {"MLXBUILD_HOME": str(folder / "home"), "MLXBUILD_PROGRESS": "plain", "PATH": programs, "TERM": "dumb"}
    more |= {"COLUMNS": str(_COLUMNS)}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=kept | more, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = bytearray()
    try:
        while part := os.read(ours, 65536):
            printed += part
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    if process.wait() != 0:
        raise RuntimeError(f"{command} failed:\n{printed.decode()}")
    return printed.decode()


def _shown(printed: str) -> list[str]:
    """The lines that fit into a frame, without control characters and times; others are left out in the middle."""
    lines = _TIME.sub("… s", _CONTROL.sub("", printed).replace("\r", "")).rstrip("\n").split("\n")
    lines = [line if len(line) <= _COLUMNS else f"{line[: _COLUMNS - 1]}…" for line in lines]
    half = (_ROWS - 2) // 2
    return lines if len(lines) < _ROWS else [*lines[:half], "…", *lines[-half:]]


def _svg(frames: list[tuple[str, list[str], int]]) -> str:
    width, height = _COLUMNS * _CHARACTER + 2 * _MARGIN, (_ROWS + 2) * _LINE + 2 * _MARGIN
    whole = sum(seconds for _, _, seconds in frames)
    styles, groups, begun = [_STYLE], [], 0
    for number, (command, lines, seconds) in enumerate(frames):
        begin, end = 100 * begun / whole, 100 * (begun + seconds) / whole
        styles.append(
            f"@keyframes f{number}{{0%,{begin:.2f}%{{opacity:0}}{begin + 0.01:.2f}%,{end - 0.01:.2f}%{{opacity:1}}"
            f"{end:.2f}%,100%{{opacity:0}}}}.f{number}{{animation:f{number} {whole}s step-end infinite}}"
        )
        begun += seconds
        rows = [f'<tspan class="prompt">$ </tspan><tspan class="command">{escape(command)}</tspan>']
        rows += [escape(line) for line in lines]
        texts = "".join(
            f'<text xml:space="preserve" x="{_MARGIN}" y="{_MARGIN + (place + 1) * _LINE}">{row}</text>'
            for place, row in enumerate(rows)
        )
        groups.append(f'<g class="frame f{number}">{texts}</g>')
    title = "A recording of mlxbuild: init, plan, create, why and run"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{title}">'
        f"<title>{title}</title><style>{''.join(styles)}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#1e2127"/>{"".join(groups)}</svg>\n'
    )


if __name__ == "__main__":
    PAGE.write_text(record(), encoding="utf-8")
