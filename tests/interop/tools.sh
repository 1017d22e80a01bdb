#!/usr/bin/env bash
# Builds the tools of others that are named (default: all) from their Go modules, each once, into a cache folder. zot and
# modctl are taken from there or from PATH: put the programs of their releases into one of them.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin="${MLXBUILD_INTEROP_CACHE:-$PWD/.cache/interop}/bin"
modules="
oras   oras.land/oras/cmd/oras@v1.3.6
cosign github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
ollama github.com/ollama/ollama@v0.32.15
"
for name in "${@:-referrers-registry oras cosign ollama}"; do
  for tool in $name; do
    if [ -x "$bin/$tool" ]; then continue; fi
    echo "building $tool" >&2
    if [ "$tool" = referrers-registry ]; then
      go build -C tests/interop/referrers_registry -trimpath -ldflags='-s -w' -o "$bin/$tool" .
    else
      module="$(awk -v tool="$tool" '$1 == tool { print $2 }' <<<"$modules")"
      GOFLAGS=-mod=mod GOBIN="$bin" go install -trimpath -ldflags='-s -w' "$module"
    fi
  done
done
