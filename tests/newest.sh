#!/bin/sh
# Tries the newest release of mlx-lm in an environment of its own, beyond the bound in pyproject.toml: its version, what it
# lacks of the names that mlxbuild uses, and the tests of these. Ends with 1 if it lacks any.
set -eu
cd "$(dirname "$0")/.."
environment=${ENVIRONMENT:-.cache/newest}
python=${PYTHON:-python3.11}

"$python" -m venv --clear "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --editable '.[development]'
"$environment/bin/pip" install --quiet --disable-pip-version-check --upgrade mlx-lm 2>&1 | grep -v "^mlxbuild .* requires" >&2 || true

code=0
"$environment/bin/python" - <<'PROGRAM' || code=1
from importlib.metadata import version

from mlxbuild.runtime.mlx_lm.surface import missing

lacking = missing()
print(f"mlx-lm {version('mlx-lm')}:", *(lacking and ("lacks", ", ".join(lacking)) or ("has all that mlxbuild uses of it",)))
raise SystemExit(bool(lacking))
PROGRAM
MLXBUILD_HOME=$environment/home "$environment/bin/mlxbuild" doctor || code=1
"$environment/bin/pytest" -q tests/runtime/mlx_lm || code=1
exit $code
