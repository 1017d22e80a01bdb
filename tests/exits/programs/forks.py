"""Forks in the middle of an answer; the copy of the process asks the model, is refused, and ends, as this one does."""

import multiprocessing
import sys

import mlxbuild
from mlxbuild.registry.core.errors import MlxbuildError

model = mlxbuild.load(sys.argv[1])
message = {"role": "user", "content": sys.argv[2]}


def ask() -> None:
    try:
        next(model.chat([message]))
    except MlxbuildError as error:
        sys.exit(error.exit_code)


chunks = model.chat([message], temperature=0)
print(next(chunks).text, end="", flush=True)
child = multiprocessing.get_context("fork").Process(target=ask)
child.start()
child.join()
for chunk in chunks:
    print(chunk.text, end="", flush=True)
sys.exit(0 if child.exitcode == 6 else 1)
