"""Fails in the middle of an answer."""

import sys

import mlxbuild

model = mlxbuild.load(sys.argv[1])
for chunk in model.chat([{"role": "user", "content": sys.argv[2]}], temperature=1, seed=1):
    print(chunk.text, flush=True)
    raise ValueError("as programs do")
