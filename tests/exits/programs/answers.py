"""Answers once, and closes nothing."""

import sys

import mlxbuild

model = mlxbuild.load(sys.argv[1])
for chunk in model.chat([{"role": "user", "content": sys.argv[2]}], temperature=0):
    print(chunk.text, end="", flush=True)
