"""Ends while a thread that nobody waits for is being answered."""

import sys
import threading

import mlxbuild

model = mlxbuild.load(sys.argv[1])
has_begun = threading.Event()


def answer() -> None:
    for _ in model.chat([{"role": "user", "content": sys.argv[2]}], temperature=1, seed=1):
        has_begun.set()


threading.Thread(target=answer, daemon=True).start()
has_begun.wait()
print("begun", flush=True)
