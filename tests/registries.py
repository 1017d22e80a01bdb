"""Real registries on this machine, each on a loopback port and in a folder of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.real_tools import find

_START_SECONDS = 60
_NOT_GIVEN = (20_000, 32_000)
"""Ports below those that systems give to connections, and that nobody has by custom."""
USER, PASSWORD = "tester", "secret"
_PASSWORD_HASH = "$2b$04$gDyWFyFc4bIfF11QEnJTxORl0icaoqBD1GLgHRo31oSJy.A3dySxW"  # bcrypt, as cheap as it goes


@dataclasses.dataclass(frozen=True)
class RegistryProcess:
    """A running registry: its `host:port`, its files, and how it is reached."""

    host: str
    folder: Path
    scheme: str
    ca: Path | None = None
    lists_referrers: bool = False
    """Whether it has the referrers API."""

    @property
    def blobs(self) -> Path:
        """Where `docker-registry` keeps blobs: `<two hex digits>/<hex>/data`."""
        return self.folder / "docker" / "registry" / "v2" / "blobs" / "sha256"


@contextmanager
def docker_registry(
    folder: Path, *, htpasswd: bool = False, tls: bool = False, authorisation: str | None = None
) -> Iterator[RegistryProcess]:
    """Run Debian's `docker-registry`, with its files in a new folder, until the end of the `with` statement.

    It has no referrers API.

    Args:
        htpasswd: ask for `USER` and `PASSWORD` by Basic authorisation.
        tls: encrypted, with an authority made for it.
        authorisation: another `auth` section of its configuration.
    """
    program = find("docker-registry")
    folder.mkdir(parents=True)
    host = f"127.0.0.1:{free_port()}"
    lines = [
        "version: 0.1",
        "log: {level: error}",
        "storage:",
        f"  filesystem: {{rootdirectory: {folder / 'data'}}}",
        "  delete: {enabled: true}",
        "  maintenance: {uploadpurging: {enabled: false}}",
        "http:",
        f"  addr: {host}",
        "  secret: fixed-for-tests",
    ]
    ca: Path | None = None
    if tls:
        ca, certificate, key = make_certificates(folder / "tls")
        lines.append(f"  tls: {{certificate: {certificate}, key: {key}}}")
    if htpasswd:
        lines += ["auth:", f"  htpasswd: {{realm: tests, path: {_passwords(folder)}}}"]
    if authorisation is not None:
        lines.append(authorisation)
    configuration = folder / "config.yml"
    configuration.write_text("\n".join(lines) + "\n")
    with _running([program, "serve", str(configuration)], host, folder / "log"):
        yield RegistryProcess(host, folder / "data", "https" if tls else "http", ca)


@contextmanager
def zot(folder: Path, *, htpasswd: bool = False, tls: bool = False) -> Iterator[RegistryProcess]:
    """Run zot, as `docker_registry`. It has the referrers API."""
    program = find("zot")
    folder.mkdir(parents=True)
    port = free_port()
    http: dict[str, object] = {"address": "127.0.0.1", "port": str(port)}
    ca: Path | None = None
    if tls:
        ca, certificate, key = make_certificates(folder / "tls")
        http["tls"] = {"cert": str(certificate), "key": str(key)}
    if htpasswd:
        http["auth"] = {"htpasswd": {"path": str(_passwords(folder))}, "failDelay": 0}
        http["accessControl"] = {
            "repositories": {"**": {"policies": [{"users": [USER], "actions": ["read", "create", "update", "delete"]}]}}
        }
    storage = {"rootDirectory": str(folder / "data"), "gc": False}
    configuration = folder / "config.json"
    configuration.write_text(json.dumps({"storage": storage, "http": http, "log": {"level": "error"}}))
    with _running([program, "serve", str(configuration)], f"127.0.0.1:{port}", folder / "log"):
        yield RegistryProcess(f"127.0.0.1:{port}", folder / "data", "https" if tls else "http", ca, True)


@contextmanager
def go_containerregistry(folder: Path) -> Iterator[RegistryProcess]:
    """Run the registry of go-containerregistry, open and plain. It has the referrers API, and says so in no header."""
    program, host = find("referrers-registry"), f"127.0.0.1:{free_port()}"
    (folder / "data").mkdir(parents=True)
    with _running([program, host, str(folder / "data")], host, folder / "log"):
        yield RegistryProcess(host, folder / "data", "http", lists_referrers=True)


def _passwords(folder: Path) -> Path:
    path = folder / "htpasswd"
    path.write_text(f"{USER}:{_PASSWORD_HASH}\n")
    return path


@contextmanager
def _running(command: list[str], host: str, log: Path) -> Iterator[None]:
    # REGISTRY_AUTH_FILE, podman's variable, would change the configuration of docker-registry.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        _wait(process, host, log)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    """A port that nobody listens on now, and that no connection is given by chance before somebody does."""
    while True:
        port = random.SystemRandom().randrange(*_NOT_GIVEN)  # Hypothesis seeds the common one
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def make_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate of it for 127.0.0.1 with its key."""
    folder.mkdir(parents=True)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    key, request, certificate = folder / "server.key", folder / "server.csr", folder / "server.pem"
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-subj", "/CN=tests", "-days", "2")
    _openssl("req", "-new", *curve, "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1")
    signing = ["-CA", ca, "-CAkey", ca_key, "-set_serial", "2", "-days", "2", "-extfile", extensions]
    _openssl("x509", "-req", "-in", request, *signing, "-out", certificate)
    return ca, certificate, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


def _wait(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    name, _, port = host.rpartition(":")
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        if process.poll() is not None:
            break
        try:
            socket.create_connection((name, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"the registry did not start: {log.read_text()}")
