"""A token service that distribution's registry trusts, with switches: who may do what, and what goes wrong."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

SERVICE, ISSUER = "tests", "token-service"


@dataclasses.dataclass(frozen=True)
class Asked:
    """One request for a token."""

    method: str
    scopes: tuple[str, ...]
    authorization: str | None
    form: dict[str, str]


class TokenService:
    """Gives JSON Web Tokens (distribution's "Token Authentication Specification") for every scope that is asked for.

    With `user` set (a Basic header) anonymous requests may only pull; `identity_token` is taken in its place.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.user: str | None = None
        self.identity_token: str | None = None
        self.status: int | None = None
        """Answer this in place of tokens."""
        self.body: bytes | None = None
        """Answer this in place of a token."""
        self.asked: list[Asked] = []
        self._key, self.certificate = folder / "token.key", folder / "token.pem"
        names = ["-keyout", str(self._key), "-out", str(self.certificate), "-subj", "/CN=tokens", "-days", "2"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        service = self

        class Handler(_Answer):
            owner = service

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.realm = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def configuration(self) -> str:
        """The registry's `auth` section."""
        return (
            f"auth: {{token: {{realm: {self.realm}, service: {SERVICE}, issuer: {ISSUER}, "
            f"rootcertbundle: {self.certificate}}}}}"
        )

    def challenge(self, scope: str) -> str:
        """A `WWW-Authenticate` header as the registry would send."""
        return f'Bearer realm="{self.realm}",service="{SERVICE}",scope="{scope}"'

    def token(self, scopes: tuple[str, ...], *, push: bool) -> str:
        """A signed token for some scopes."""
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [action for action in actions.split(",") if push or action == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        pem = self.certificate.read_text().split("-----")[2]
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(pem.split())]}
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": "tester", "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now}
        text = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps({**claims, 'access': access}).encode())}"
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(sign, input=text.encode(), check=True, capture_output=True, timeout=30).stdout
        return f"{text}.{_encode(signature)}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Answer(BaseHTTPRequestHandler):
    owner: TokenService

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self._give(tuple(query.get("scope", ())), {})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: values[0] for key, values in parse_qs(text).items()}
        self._give(tuple(form.get("scope", "").split()), form)

    def _give(self, scopes: tuple[str, ...], form: dict[str, str]) -> None:
        owner, authorization = self.owner, self.headers.get("Authorization")
        owner.asked.append(Asked(self.command, scopes, authorization, form))
        known = owner.user is None or authorization == owner.user
        if form:
            known = form.get("grant_type") == "refresh_token" and form.get("refresh_token") == owner.identity_token
        if owner.status is not None:
            self._send(owner.status, b"{}")
        elif not known and (authorization is not None or form):
            self._send(401, b"{}")
        elif owner.body is not None:
            self._send(200, owner.body)
        else:
            token: dict[str, Any] = {"access_token" if form else "token": owner.token(scopes, push=known)}
            self._send(200, json.dumps({**token, "expires_in": 300}).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing is told."""


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
