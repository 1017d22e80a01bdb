"""The client that the command line uses for a running server, over the Ollama API (`runtime.server.ollama`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Unpack
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from mlxbuild.configuration.address import is_listening, server_address
from mlxbuild.registry.core.errors import InfrastructureError, Kind, MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote import watch as watches
from mlxbuild.registry.oci.remote.connections import watch_connections
from mlxbuild.registry.oci.remote.watch import DUE_BYTES, LimitExceeded, Limits, Watch, watching
from mlxbuild.runtime.engine.input.keywords import (
    ConversationKeywords,
    GenerateKeywords,
    chat_request,
    completion_request,
)
from mlxbuild.runtime.protocol.events import Chunk, Embeddings, Failure, GenerationFinished, ToolCall
from mlxbuild.runtime.protocol.failures import as_error
from mlxbuild.runtime.protocol.requests import AnswerFormat, Message
from mlxbuild.runtime.server.security.hosts import is_loopback

_CONNECT_SECONDS = 2.0
GREETING_SECONDS = 2.0
"""The time limit for recognizing an mlxbuild server."""
QUESTION_SECONDS = 30.0
"""The time limit for the response to a short request to begin, and for every 64 KiB of it."""
LONGEST_BYTES = 64 * 1024 * 1024
"""The maximum size of the response to a short request."""
_TEXTS_AT_ONCE = 256
"""The maximum number of texts in one request for embeddings."""
_KEY_VARIABLES = ("MLXBUILD_API_KEY", "OLLAMA_API_KEY")
_KEY_HINT = (
    "set MLXBUILD_API_KEY to a key of this server; `mlxbuild config add-key NAME` makes one on the server's machine"
)
_OTHERS_PORT = "check that it is the server's port; `mlxbuild doctor` and the server's log say more"
_OPTION_NAMES = {"max_tokens": "num_predict", "stops": "stop"}


class NoServer(InfrastructureError):
    """No mlxbuild server answers at the configured address."""

    code = "no-server"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    headers: Mapping[str, str]

    @classmethod
    def find(cls, home: Home, environment: Mapping[str, str] = os.environ) -> Server | None:
        """The server at the address in the settings; None if no mlxbuild server answers."""
        host, port = server_address(home, environment)
        if not is_listening(host, port):
            return None
        key = next((environment[name] for name in _KEY_VARIABLES if environment.get(name)), None)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        server = cls(f"http://{f'[{host}]' if ':' in host else host}:{port}", headers)
        try:
            told = server._ask("GET", "/api/version", None, GREETING_SECONDS)
        except MlxbuildError:
            return None
        return server if "mlxbuild" in told else None

    @classmethod
    def require(cls, home: Home) -> Server:
        """The server at the address in the settings.

        Raises:
            NoServer: no mlxbuild server answers.
        """
        server = cls.find(home)
        if server is None:
            host, port = server_address(home, os.environ)
            hint = "start one: `mlxbuild serve`"
            if is_listening(host, port):
                hint = "another program listens there, or the server hangs: MLXBUILD_HOST can name another address"
            raise NoServer(f"no mlxbuild server answers on {host}:{port}", hint=hint)
        return server

    def get(self, path: str) -> dict[str, Any]:
        """Send a short GET request and return the JSON object of the response.

        Raises:
            NoServer: there is no response, or it is not JSON.
            MlxbuildError: the error that the server returned.
        """
        return self._ask("GET", path, None, QUESTION_SECONDS)

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """Send a short POST request with fields; otherwise like `get`."""
        return self._ask("POST", path, {"stream": False, **fields}, QUESTION_SECONDS)

    def stop(self, model: str) -> bool:
        """Unload a model after its current requests, however long they take; returns whether it was in memory.

        Raises:
            MlxbuildError: the error that the server returned.
        """
        return bool(self._ask("POST", "/api/stop", {"model": model}, None)["unloaded"])

    def embed(self, **fields: Any) -> dict[str, Any]:
        """Compute embeddings, however long it takes; otherwise like `post`."""
        return self._ask("POST", "/api/embed", fields, None)

    def stream(self, path: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """The objects of a streaming response, as they arrive.

        Raises:
            MlxbuildError: the error that the server returned, before or during the stream.
        """
        with closing(self._send("POST", path, fields)) as answer:
            try:
                for line in answer.raw:
                    told = json.loads(line)
                    _raise_told(told, 200)
                    yield told
            except (requests.RequestException, HTTPError, ValueError) as error:
                raise NoServer(f"the answer ended early: {error}") from None

    def _ask(self, method: str, path: str, fields: Mapping[str, Any] | None, seconds: float | None) -> dict[str, Any]:
        with _answering_within(seconds), closing(self._send(method, path, fields)) as answer:
            told = _read_json(answer)
        if not isinstance(told, dict) or answer.status_code != 200:
            raise NoServer(
                f"{path} was answered with status {answer.status_code}, but not by an mlxbuild server",
                where=self.url,
                hint=_OTHERS_PORT,
            )
        return told

    def _send(self, method: str, path: str, fields: Mapping[str, Any] | None) -> requests.Response:
        try:
            patience = (_CONNECT_SECONDS, None)  # the response may take any time
            url, headers = f"{self.url}{path}", dict(self.headers)
            session = _session(urlsplit(url).hostname or "")
            answer = session.request(
                method, url, json=fields, headers=headers, stream=True, timeout=patience, allow_redirects=False
            )
            if answer.status_code >= 400:
                with closing(answer):
                    is_json = "json" in answer.headers.get("content-type", "")
                    told = _read_json(answer) if is_json else {"error": _read(answer).decode("utf-8", "replace")}
                    _raise_told(told, answer.status_code)
        except requests.RequestException as error:
            raise NoServer(f"the server does not answer: {error}", where=self.url, hint=_OTHERS_PORT) from None
        return answer


def _read_json(answer: requests.Response) -> Any:
    data = _read(answer)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise NoServer("the answer is not JSON", where=answer.url, hint=_OTHERS_PORT) from None


def _read(answer: requests.Response) -> bytes:
    try:
        data: bytes = answer.raw.read(LONGEST_BYTES + 1, decode_content=True)
    except (OSError, HTTPError) as error:
        raise NoServer(f"the answer ended early: {error}", where=answer.url, hint=_OTHERS_PORT) from None
    if len(data) > LONGEST_BYTES:
        raise NoServer("the answer is too long", where=answer.url, hint=_OTHERS_PORT)
    return data


@contextmanager
def _answering_within(seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    with watching(Watch(Limits(_CONNECT_SECONDS, seconds, DUE_BYTES / seconds), _too_slow)):
        yield


def _too_slow(overrun: LimitExceeded) -> NoServer:
    return NoServer(f"the server {overrun.story}", hint=_OTHERS_PORT)


class _Adapter(HTTPAdapter):
    """Makes connections with time limits."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        watch_connections(self.poolmanager)


def _session(host: str) -> requests.Session:
    """A session under the watch of this thread, if any; loopback is never accessed through a proxy."""
    session = requests.Session()
    session.trust_env = not is_loopback(host)
    if watches.current() is not None:
        session.mount("http://", _Adapter())
    return session


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model at a server, with the methods of a `LoadedModel`."""

    server: Server
    name: str
    has_template: bool
    capabilities: tuple[str, ...]
    keep_alive: str | None = None

    def chat(self, messages: Sequence[Message], **asked: Unpack[ConversationKeywords]) -> Iterator[Chunk]:
        """Answer a conversation; see `LoadedModel.chat`."""
        self._require_writing()
        request = chat_request(messages, asked)
        opening = [] if request.system is None else [{"role": "system", "content": request.system}]
        fields = self._fields(request.format, request.options)
        fields["messages"] = [*opening, *map(_written, request.messages)]
        if request.think is not None:
            fields["think"] = request.think
        return _chunks(self.server.stream("/api/chat", **fields))

    def generate(self, prompt: str, **asked: Unpack[GenerateKeywords]) -> Iterator[Chunk]:
        """Complete a raw prompt; see `LoadedModel.generate`."""
        self._require_writing()
        request = completion_request(prompt, asked)
        fields = self._fields(request.format, request.options) | {"prompt": prompt, "raw": True}
        return _chunks(self.server.stream("/api/generate", **fields))

    def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Compute one vector for each text; see `LoadedModel.embed`."""
        fields: dict[str, Any] = {"model": self.name}
        if dimensions is not None:
            fields["dimensions"] = dimensions
        if self.keep_alive is not None:
            fields["keep_alive"] = self.keep_alive
        vectors: list[tuple[float, ...]] = []
        tokens = 0
        for first in range(0, len(inputs), _TEXTS_AT_ONCE):
            told = self.server.embed(input=list(inputs[first : first + _TEXTS_AT_ONCE]), **fields)
            vectors += map(tuple, told["embeddings"])
            tokens += told["prompt_eval_count"]
        return Embeddings(tuple(vectors), tokens)

    def _require_writing(self) -> None:
        if "completion" not in self.capabilities:
            from mlxbuild.runtime.engine.input.preparation import EMBEDDING_HINT, OnlyEmbeds

            raise OnlyEmbeds("the model only turns texts into vectors", hint=EMBEDDING_HINT)

    def _fields(self, wanted: AnswerFormat | None, options: Mapping[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self.name}
        # Penalties consider the whole answer, as for a model loaded in this process, unless an option says otherwise.
        given = {"counts_recent": False, **options}
        fields["options"] = {_OPTION_NAMES.get(name, name): value for name, value in given.items()}
        if wanted is not None:
            fields["format"] = "json" if wanted.schema is None else wanted.schema
        if self.keep_alive is not None:
            fields["keep_alive"] = self.keep_alive
        return fields


def _written(message: Message) -> dict[str, Any]:
    return {("thinking" if key == "reasoning_content" else key): value for key, value in message.items()}


def _chunks(told: Iterator[dict[str, Any]]) -> Iterator[Chunk]:
    for each in told:
        message = each.get("message") or {"content": each.get("response", "")}
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        yield Chunk(message.get("content") or "", message.get("thinking") or "", finish=_finish(each))
        yield from (Chunk(tool_call=ToolCall(call["name"], call["arguments"])) for call in calls)


def _finish(told: Mapping[str, Any]) -> GenerationFinished | None:
    if not told.get("done"):
        return None
    return GenerationFinished(
        reason="length" if told.get("done_reason") == "length" else "stop",
        prompt_tokens=told.get("prompt_eval_count", 0),
        reused_tokens=0,
        answer_tokens=told.get("eval_count", 0),
        prompt_seconds=told.get("prompt_eval_duration", 0) / 1e9,
        answer_seconds=told.get("eval_duration", 0) / 1e9,
    )


def _raise_told(told: Any, status: int) -> None:
    """Raise the error in a response, if any, by its own kind, or by the status if the kind is missing."""
    known = told if isinstance(told, dict) else {}
    message = known.get("error")
    if message is None and status < 400:
        return
    by_status = Kind.USER if 400 <= status < 500 or status == 200 else Kind.INFRASTRUCTURE
    kind = known["kind"] if known.get("kind") in set(Kind) else by_status
    code = known.get("code") or "no-server"
    hint = _KEY_HINT if status == 401 else known.get("hint")  # the server's speaks of HTTP, to other clients as well
    raise as_error(Failure(code, kind, str(message or status), known.get("where"), hint))
