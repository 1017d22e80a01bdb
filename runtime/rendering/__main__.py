"""Starts a renderer: `python -I -m mlxbuild.runtime.rendering`, with its socket as standard input."""

from __future__ import annotations

import socket

from mlxbuild.runtime.rendering.process import serve

if __name__ == "__main__":
    serve(socket.socket(fileno=0))
