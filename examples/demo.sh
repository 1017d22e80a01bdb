#!/bin/sh
# The main job in one go: the embedded example is built from its recipe, verified, and answers a question.
set -eu
cd "$(dirname "$0")/.."
MLXBUILD_HOME="${MLXBUILD_HOME:-$PWD/.demo}"
export MLXBUILD_HOME
mlxbuild="${BIN:-.venv/bin}/mlxbuild"

step() { printf '\n$ mlxbuild %s\n' "$*"; }

step plan -f examples/hello
"$mlxbuild" plan -f examples/hello --locked
step create -f examples/hello
"$mlxbuild" create -f examples/hello --locked
step verify hello:int4@1.0
"$mlxbuild" verify hello:int4@1.0
step list
"$mlxbuild" list
step run hello:int4 '"What is mlxbuild?"'
"$mlxbuild" run hello:int4 "What is mlxbuild?"

printf '\nTalk with it yourself:\n  export MLXBUILD_HOME="%s"\n  %s chat hello:int4\n' "$MLXBUILD_HOME" "$mlxbuild"
