"""Ends in the middle of an answer, which it still has."""

import sys

import mlxbuild

model = mlxbuild.load(sys.argv[1])
chunks = model.chat([{"role": "user", "content": sys.argv[2]}], temperature=1, seed=1)
print(next(chunks).text, flush=True)
