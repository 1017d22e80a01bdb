"""The logger of the server's code; `observability.logs` configures its output."""

from __future__ import annotations

import logging
from typing import Any

import structlog

log: Any = structlog.wrap_logger(
    logging.getLogger("mlxbuild.serve"),
    wrapper_class=structlog.stdlib.BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
)
