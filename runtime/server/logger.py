"""The server's own log, until it is told where to write. Where that is and in what form: `operations`."""

from __future__ import annotations

from typing import Any

import structlog

log: Any = structlog.get_logger("mlxbuild.serve")
