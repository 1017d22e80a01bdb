"""A Hub on this machine that the real client talks to, with switches for everything that goes wrong on the real one.

    with LocalHub() as hub:
        commit = hub.publish("acme/tiny", {"config.json": b"{}", "model.safetensors": weights})
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.faults.append(Fault("resolve", "model.safetensors", status=429, retry_after=2, times=1))

Files larger than `LFS_BYTES`, and all safetensors, are served as LFS files: with a sha256, from another path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback_server import LoopbackServer

LFS_BYTES = 1_000_000


@dataclasses.dataclass
class Fault:
    """Something that goes wrong with requests of one route (`search`, `info`, `tree`, `resolve`, `blob`) some times."""

    route: str
    path: str = ""
    """Of the file, for `resolve` and `blob`; empty means any."""
    method: str = ""
    status: int | None = None
    retry_after: int | None = None
    error_code: str | None = None
    message: str | None = None
    truncate: int | None = None
    """Close the connection after so many bytes of the body, though more were announced."""
    replace: bytes | None = None
    """Serve these bytes in place of the file's."""
    no_range: bool = False
    """Answer a ranged request with the whole file."""
    seconds: float = 0.0
    drip: bool = False
    """Send the body a byte at a time, slowly."""
    garbage: bool = False
    """Answer 200 with a body that is no JSON."""
    times: int = 1_000_000


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    route: str
    path: str
    range: str | None
    authorization: str | None


class LocalHub:
    """Repositories in memory, served over HTTP on a port of 127.0.0.1."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.private: dict[str, str] = {}
        """Repository to the token that it wants."""
        self.gated: set[str] = set()
        self._commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self._references: dict[str, dict[str, str]] = {}
        self.lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            local = hub

        self._server = LoopbackServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> LocalHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def publish(self, repository: str, files: Mapping[str, bytes], revision: str = "main") -> str:
        """Make a commit of these files, point a branch or tag at it, and return its id."""
        listing = sorted((path, _git_id(data)) for path, data in files.items())
        commit = hashlib.sha1(json.dumps(listing).encode()).hexdigest()
        self._commits.setdefault(repository, {})[commit] = dict(files)
        self._references.setdefault(repository, {})[revision] = commit
        return commit

    def count(self, route: str, method: str = "GET", path: str = "") -> int:
        """How many requests of a route have arrived."""
        with self.lock:
            return sum(
                request.route == route and request.method == method and path in ("", request.path)
                for request in self.requests
            )

    def find(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a revision, and its files."""
        commits = self._commits.get(repository, {})
        commit = self._references.get(repository, {}).get(revision, revision)
        if commit not in commits and len(revision) >= 7:
            commit = next((full for full in commits if full.startswith(revision)), commit)
        return (commit, commits[commit]) if commit in commits else None

    def search(self, word: str) -> list[str]:
        """The repositories whose name holds a word."""
        return [repository for repository in self._commits if word in repository]

    def known(self, repository: str) -> bool:
        return repository in self._commits

    def fault(self, route: str, path: str, method: str) -> Fault | None:
        """The fault that strikes this request, used up once more."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.route == route and fault.path in ("", path) and fault.method in ("", method):
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    local: LocalHub
    drips = False
    protocol_version = "HTTP/1.1"
    _routes = (
        ("search", re.compile(r"/api/models")),
        ("info", re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")),
        ("tree", re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")),
        ("resolve", re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")),
        ("blob", re.compile(r"/lfs/(?P<repo>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<path>.+)")),
    )

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        reply = self._reply()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for place in range(len(reply.body) if self.drips else 0):
            self.wfile.write(reply.body[place : place + 1])
            time.sleep(0.02)
        self.wfile.write(b"" if self.drips else reply.body[: reply.truncate])
        if reply.truncate is not None:
            self.wfile.flush()
            self.close_connection = True

    def _reply(self) -> _Reply:
        address = urlsplit(self.path)
        matches = ((route, pattern.fullmatch(address.path)) for route, pattern in self._routes)
        route, match = next(((route, match) for route, match in matches if match), ("", None))
        if match is None:
            return _failure(404, None, "no such page")
        found = {name: unquote(value) for name, value in match.groupdict(default="").items()}
        repository, revision, path = found.get("repo", ""), found.get("revision") or "main", found.get("path", "")
        hub = self.local
        authorization = self.headers.get("Authorization")
        with hub.lock:
            hub.requests.append(Request(self.command, route, path, self.headers.get("Range"), authorization))
        fault = hub.fault(route, path, self.command) or Fault(route)
        threading.Event().wait(fault.seconds)  # tests shorten pauses, and not this one
        self.drips = fault.drip
        if fault.status is not None:
            return _failure(fault.status, fault.error_code, fault.message or "fault", fault.retry_after)
        if fault.garbage:
            return _Reply(b"<html>welcome to the hotel network</html>", content_type="text/html")
        if route == "search":
            return _json([{"id": name, "downloads": 7} for name in hub.search(parse_qs(address.query)["search"][0])])
        if refusal := _refusal(hub, repository, (authorization or "").removeprefix("Bearer "), route):
            return refusal
        commit, files = hub.find(repository, revision) or ("", {})
        if not commit:
            return _failure(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if route == "info":
            siblings = [{"rfilename": name} for name in sorted(files)]
            return _json({"id": repository, "modelId": repository, "sha": commit, "siblings": siblings, "tags": []})
        if route == "tree":
            recursive = parse_qs(address.query).get("recursive", ["false"])[0].lower() in ("true", "1")
            return _json(_tree(files, path, recursive))
        if path not in files:
            reply = _failure(404, "EntryNotFound", "Entry not found")
            return dataclasses.replace(reply, headers={**reply.headers, "X-Repo-Commit": commit})
        if route == "resolve" and _is_lfs(path, files[path]):
            # As on the real Hub: the redirect itself carries the metadata.
            headers = {**_metadata(commit, path, files[path]), "Location": f"/lfs/{repository}/{commit}/{path}"}
            return _Reply(b"", 302, headers=headers)
        return self._content(_metadata(commit, path, files[path]), files[path], fault)

    def _content(self, headers: Mapping[str, str], data: bytes, fault: Fault) -> _Reply:
        if fault.replace is not None:
            data = fault.replace
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None or fault.no_range:
            return _Reply(data, headers=headers, truncate=fault.truncate)
        begin, end = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if begin >= len(data):
            return _Reply(b"", 416, headers={"Content-Range": f"bytes */{len(data)}"})
        ranged = {**headers, "Content-Range": f"bytes {begin}-{end}/{len(data)}"}
        return _Reply(data[begin : end + 1], 206, headers=ranged, truncate=fault.truncate)


@dataclasses.dataclass(frozen=True)
class _Reply:
    body: bytes
    status: int = 200
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    truncate: int | None = None


def _json(value: Any) -> _Reply:
    return _Reply(json.dumps(value).encode(), content_type="application/json")


def _failure(status: int, code: str | None, message: str, retry_after: int | None = None) -> _Reply:
    headers = {"X-Error-Message": message}
    if code is not None:
        headers["X-Error-Code"] = code
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return _Reply(json.dumps({"error": message}).encode(), status, "application/json", headers)


def _refusal(hub: LocalHub, repository: str, token: str, route: str) -> _Reply | None:
    """The real Hub shows what a gated repository is, not what is in it, and hides a private one altogether."""
    wanted = hub.private.get(repository)
    if repository in hub.gated:
        if route == "info" or (wanted is not None and token == wanted):
            return None
        return _failure(403 if token else 401, "GatedRepo", "Access to this model is restricted.")
    if not hub.known(repository) or (wanted is not None and token != wanted):
        return _failure(404 if token else 401, "RepoNotFound", "Repository not found")
    return None


def _metadata(commit: str, path: str, data: bytes) -> dict[str, str]:
    headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    if _is_lfs(path, data):
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return headers | {"ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": str(len(data))}
    return headers | {"ETag": f'"{_git_id(data)}"'}


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _is_lfs(path: str, data: bytes) -> bool:
    return path.endswith(".safetensors") or len(data) > LFS_BYTES


def _tree(files: Mapping[str, bytes], below: str, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{below}/" if below else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        head, slash, _ = path[len(prefix) :].partition("/")
        if slash:
            entries[prefix + head] = {"type": "directory", "path": prefix + head, "oid": "0" * 40, "size": 0}
            if not recursive:
                continue
        entries[path] = {"type": "file", "path": path, "size": len(data), "oid": _git_id(data)}
        if _is_lfs(path, data):
            sha256 = hashlib.sha256(data).hexdigest()
            entries[path]["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 134}
    return [entries[path] for path in sorted(entries)]
