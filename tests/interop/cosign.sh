#!/usr/bin/env bash
# What we sign, the real cosign verifies; what cosign signs, we verify. Needs Go once, Debian's docker-registry, and
# a built checkout (BIN names the folder of `mlxbuild`). cosign is built into a cache folder and kept there.
set -euo pipefail
cd "$(dirname "$0")/../.."
version="${COSIGN_VERSION:-v3.1.3}"
cache="${MLXBUILD_INTEROP_CACHE:-$PWD/.cache/interop}/bin"
bin="${BIN:-.venv/bin}"
cosign="$cache/cosign"

if [ ! -x "$cosign" ]; then
  GOFLAGS=-mod=mod GOBIN="$cache" go install -trimpath -ldflags='-s -w' \
    "github.com/sigstore/cosign/${version%%.*}/cmd/cosign@$version"
fi

place="$(mktemp -d)"
registry=
end() {
  if [ -n "$registry" ]; then kill "$registry"; fi
  rm -rf "$place"
}
trap end EXIT

export MLXBUILD_HOME="$place/home" MLXBUILD_PROGRESS=none COSIGN_PASSWORD='' HOME="$place"
unset MLXBUILD_KEY_PASSWORD
mlxbuild() { "$bin/mlxbuild" "$@"; }
say() { printf '\n== %s\n' "$*"; }
refuses() {
  if "$@" >"$place/refused" 2>&1; then
    echo "this should have been refused: $*" >&2
    exit 1
  fi
  tail -n 3 "$place/refused"
}

say "a registry on a loopback port"
port="$("$bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
cat >"$place/registry.yml" <<CONFIGURATION
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $place/registry}}
http: {addr: "127.0.0.1:$port"}
CONFIGURATION
docker-registry serve "$place/registry.yml" >"$place/registry.log" 2>&1 &
registry=$!
repository="127.0.0.1:$port/acme/hello"
for _ in $(seq 100); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
  sleep 0.1
done

say "build, sign and push"
mlxbuild create -f examples/hello --no-gates >"$place/built"
digest="$(awk '$1 == "hello:int4@1.0" { print $2 }' "$place/built")"
unsigned="$(awk '$1 == "hello:none@1.0" { print $2 }' "$place/built")"
mlxbuild keygen acme -o "$place"
mlxbuild keygen stranger -o "$place"
mlxbuild sign "$digest" --key "$place/acme.key"
mlxbuild push "$digest" "$repository:int4-1.0"
mlxbuild push "$unsigned" "$repository:none-1.0"

say "cosign verifies our signature and our provenance"
options=(--insecure-ignore-tlog=true --allow-http-registry)
"$cosign" version | grep GitVersion
"$cosign" verify --key "$place/acme.pub" "${options[@]}" "$repository:int4-1.0"
"$cosign" verify-attestation --key "$place/acme.pub" --type slsaprovenance1 "${options[@]}" \
  "$repository:int4-1.0" >"$place/provenance"
"$bin/python" - "$place/provenance" <<'CHECK'
import base64, json, pathlib, sys
envelope = json.loads(pathlib.Path(sys.argv[1]).read_text().splitlines()[0])
statement = json.loads(base64.b64decode(envelope["payload"]))
print(statement["predicateType"], statement["predicate"]["buildDefinition"]["buildType"])
CHECK

say "cosign refuses another key and an unsigned artifact"
refuses "$cosign" verify --key "$place/stranger.pub" "${options[@]}" "$repository:int4-1.0"
refuses "$cosign" verify --key "$place/acme.pub" "${options[@]}" "$repository:none-1.0"

say "we verify what cosign signs"
"$cosign" generate-key-pair --output-key-prefix "$place/cosign"
"$cosign" sign --key "$place/cosign.key" --yes --tlog-upload=false --use-signing-config=false --allow-http-registry \
  "$repository@$unsigned"
MLXBUILD_HOME="$place/second" mlxbuild pull "$repository:none-1.0"
MLXBUILD_HOME="$place/second" mlxbuild verify "$repository:none-1.0" --key "$place/cosign.pub" --offline
refuses env MLXBUILD_HOME="$place/second" "$bin/mlxbuild" verify "$repository:none-1.0" --key "$place/acme.pub"

say "cosign and mlxbuild agree"
