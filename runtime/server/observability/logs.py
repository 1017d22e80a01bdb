"""Configures the server's log: one JSON object per line, in a rotated file."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog

from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.runtime.server.connections.observation import RequestOutcome
from mlxbuild.runtime.server.logger import log

FILE_NAME = "serve.jsonl"
_SECRET_NAME = re.compile(r"authori[sz]ation|api[-_]?key|token$|password|secret|cookie", re.IGNORECASE)
_SECRET = re.compile(r"\b(mlxb_|sk-|hf_)[A-Za-z0-9_-]{8,}|(?i:bearer)\s+\S+")
_HIDDEN = "[hidden]"


def log_to(destination: Path | None, *, level: str, file_bytes: int, files: int) -> None:
    """Write all logs of this process to a file, or to stderr if `destination` is None.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        file_bytes: The size in bytes at which a new file is started.
        files: How many earlier files are kept.
    """
    handler: logging.Handler
    if destination is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        with disk_errors(destination.parent):
            destination.parent.mkdir(parents=True, exist_ok=True)
        handler = _File(destination, maxBytes=file_bytes, backupCount=files, encoding="utf-8", delay=True)
    added = [structlog.stdlib.ExtraAdder()]  # the extra fields of other libraries' records
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=added, processors=_PROCESSORS))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("sanic.root", "sanic.error", "sanic.access", "sanic.server", "sanic.websockets"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


class _File(RotatingFileHandler):
    """A log file that reports a write error once on stderr, and goes on when writing succeeds again."""

    _refused = False
    _told = False

    def emit(self, record: logging.LogRecord) -> None:
        self._refused = False
        super().emit(record)
        self._told = self._told and self._refused

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._refused = True
        if not self._told:
            self._told = True
            with suppress(OSError):
                sys.stderr.write(
                    f"warning: the log cannot be written to: {error.strerror or error} ({self.baseFilename})\n"
                )


def log_request(observed: RequestOutcome) -> None:
    """Log one line for a request. Bodies, headers and queries are never logged."""
    told = {
        "request_id": observed.request_id,
        "method": observed.method,
        "path": observed.path,
        "route": observed.route,
        "status": observed.status,
        "seconds": round(observed.seconds, 4),
        "client": observed.client,
        "error": observed.error,
        "caller": observed.caller,
        "model": observed.model,
    }
    log.info("request", **{key: value for key, value in told.items() if value is not None})


def _hide_secrets(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace everything that looks like a secret."""
    return {key: _HIDDEN if _SECRET_NAME.search(key) else _cleared(value) for key, value in event.items()}


def _cleared(value: Any) -> Any:
    return _SECRET.sub(_HIDDEN, value) if isinstance(value, str) else value


_PROCESSORS: list[Any] = [
    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    _hide_secrets,
    structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
]
