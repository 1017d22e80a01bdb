"""Starts a runner: `python -m mlxbuild.runtime.runner <descriptor of its socket> <process id of its parent>`."""

from __future__ import annotations

import socket
import sys

from mlxbuild.runtime.runner.orphan import end_with_parent
from mlxbuild.runtime.runner.process import serve

if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    serve(socket.socket(fileno=int(sys.argv[1])))
