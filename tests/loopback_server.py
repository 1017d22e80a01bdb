"""The HTTP server below the tests' own servers. What they answer is theirs."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Answers each request on a thread of its own, and takes it as usual that clients hang up."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Tell of errors that are ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)
