"""Ollama's registry on this machine, with switches for everything that goes wrong on the real one.

    with LocalOllamaRegistry() as registry:
        digest = registry.publish("library/tiny:q8", [layer("model", gguf), layer("params", b'{"top_k": 7}')])
        ... f"base: {{ollama: {registry.host}/library/tiny:q8}}"
        registry.faults.append(Fault("storage", status=503, times=1))

Manifests have Docker's media type; blobs are redirected to another port, as the real one's lie in a storage of others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.loopback_server import LoopbackServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer with its content."""

    media_type: str
    content: bytes
    name: str | None = None

    @property
    def descriptor(self) -> dict[str, Any]:
        described: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": digest_of(self.content),
            "size": len(self.content),
        }
        return described | ({"name": self.name} if self.name is not None else {})


def layer(kind: str, content: bytes, name: str | None = None) -> Layer:
    """A layer of one of Ollama's media types."""
    return Layer(f"application/vnd.ollama.image.{kind}", content, name)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest_of(layers: Iterable[Layer], config: bytes = b"{}") -> bytes:
    """The bytes of a manifest, as Ollama writes them."""
    described = Layer(CONFIG, config).descriptor
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described}
    return json.dumps(document | {"layers": [each.descriptor for each in layers]}).encode()


def write_local_models(folder: Path, host: str, name: str, layers: Iterable[Layer]) -> str:
    """What Ollama itself keeps on a machine that has a model; its manifest's digest."""
    layers = list(layers)
    model, _, tag = name.partition(":")
    place = folder / "manifests" / host / model / tag
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(manifest_of(layers))
    (folder / "blobs").mkdir(exist_ok=True)
    for content in (b"{}", *(each.content for each in layers)):
        (folder / "blobs" / digest_of(content).replace(":", "-")).write_bytes(content)
    return digest_of(place.read_bytes())


@dataclasses.dataclass
class Fault:
    """Something that goes wrong with requests of one route (`manifest`, `blob`, `storage`) some times."""

    route: str
    digest: str = ""
    """Of the blob; empty means any."""
    status: int | None = None
    truncate: int | None = None
    """Close the connection after so many bytes of the body, though more were announced."""
    replace: bytes | None = None
    """Serve these bytes in place of the content."""
    no_range: bool = False
    """Answer a ranged request with the whole."""
    seconds: float = 0.0
    """Wait so long before the answer."""
    times: int = 1_000_000


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    route: str
    path: str
    range: str | None
    authorization: str | None
    accept: str | None


class LocalOllamaRegistry:
    """Models in memory, served over HTTP on two ports of 127.0.0.1: the registry, and the storage of its blobs."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.manifests: dict[str, bytes] = {}
        """`namespace/model:tag` to the manifest."""
        self.blobs: dict[str, bytes] = {}
        self.lock = threading.Lock()
        registry = self

        class Front(_Handler):
            local = registry

        class Storage(_Handler):
            local = registry
            is_storage = True

        self._servers = [LoopbackServer(("127.0.0.1", 0), Front), LoopbackServer(("127.0.0.1", 0), Storage)]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in self._servers
        ]

    def __enter__(self) -> LocalOllamaRegistry:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def storage(self) -> str:
        return f"127.0.0.1:{self._servers[1].server_address[1]}"

    def publish(self, name: str, layers: Iterable[Layer]) -> str:
        """Point `namespace/model:tag` at a model; its manifest's digest."""
        layers = list(layers)
        self.blobs |= {digest_of(each.content): each.content for each in layers}
        self.manifests[name] = manifest_of(layers)
        return digest_of(self.manifests[name])

    def asked(self, route: str) -> list[Request]:
        """The requests of a route that have arrived."""
        with self.lock:
            return [request for request in self.requests if request.route == route]

    def fault(self, route: str, digest: str) -> Fault | None:
        """The fault that strikes this request, used up once more."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.route == route and fault.digest in ("", digest):
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    local: LocalOllamaRegistry
    is_storage = False
    protocol_version = "HTTP/1.1"
    _routes = (
        ("manifest", re.compile(r"/v2/(?P<model>[^/]+/[^/]+)/manifests/(?P<tag>[^/]+)")),
        ("blob", re.compile(r"/v2/(?P<model>[^/]+/[^/]+)/blobs/(?P<digest>sha256:[0-9a-f]{64})")),
    )

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        if self.is_storage:
            route, found = "storage", {"digest": self.path.partition("?")[0].removeprefix("/")}
        else:
            matches = ((route, pattern.fullmatch(self.path)) for route, pattern in self._routes)
            route, found = next(((name, match.groupdict()) for name, match in matches if match), ("", {}))
        registry, headers = self.local, self.headers
        with registry.lock:
            registry.requests.append(
                Request(route, self.path, headers.get("Range"), headers.get("Authorization"), headers.get("Accept"))
            )
        fault = registry.fault(route, found.get("digest", "")) or Fault(route)
        time.sleep(fault.seconds)
        if fault.status is not None:
            return self._answer(fault.status, b'{"errors":[{"code":"UNAVAILABLE","message":"fault"}]}')
        if route == "manifest":
            data = registry.manifests.get(f"{found['model']}:{found['tag']}")
            if data is None:  # as the real one says it
                missing = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
                return self._answer(404, missing)
            return self._answer(200, fault.replace or data, {"Content-Type": MANIFEST}, fault.truncate)
        content = registry.blobs.get(found.get("digest", ""))
        if content is None:
            return self._answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}')
        if route == "blob":
            location = f"http://{registry.storage}/{found['digest']}?signature=secret"
            return self._answer(307, b"", {"Location": location})
        return self._content(content if fault.replace is None else fault.replace, fault)

    def _content(self, data: bytes, fault: Fault) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None or fault.no_range:
            return self._answer(200, data, truncate=fault.truncate)
        begin, end = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        ranged = {"Content-Range": f"bytes {begin}-{end}/{len(data)}"}
        return self._answer(206, data[begin : end + 1], ranged, fault.truncate)

    def _answer(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, truncate: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[:truncate])
        if truncate is not None:
            self.wfile.flush()
            self.close_connection = True
