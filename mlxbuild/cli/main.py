"""The entry point of the command line. The commands are in `program`.

Nothing slow is imported before the signal handlers are installed.
"""

from __future__ import annotations

import os
import sys

from mlxbuild.cli import early_signals


def main() -> None:
    """Run the command line and end the process with its exit code."""
    early_signals.leave_at_once()
    from mlxbuild import gc_tuning
    from mlxbuild.cli import ending

    gc_tuning.look_rarely()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # no plugin may change how recipes are read
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # else its client asks the Hub about us first
    from mlxbuild.cli.program import run

    code = run(sys.argv[1:])
    ending.end_at_once()
    ending.write_nothing_more()
    gc_tuning.look_no_more()
    sys.exit(code)
