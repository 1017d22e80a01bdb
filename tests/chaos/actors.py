"""Those who use and misuse the server during a chaos run. Each acts once a call, and says how it went; what must never
happen raises `Fault`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.chaos.flaky_registry import FlakyRegistry
from tests.chaos.serve import ChaosServer

QUESTIONS = {
    "smol:int8": "What is the capital of France?",
    "smol:none": "What is the capital of Italy?",
    "hello:int4": "What is mlxbuild?",
}
_STORY = "Tell me a long story."
_MAX_TOKENS = 24
_RESERVED_BYTES = 4096
_KEEPS_DYING = "and has answered nothing"
"""In the message of `model-keeps-dying`; not every API tells the code."""


class Fault(Exception):
    """Something happened that must not: a wrong answer, a broken error, a command that ended by a signal."""


@dataclass
class Stage:
    """What the actors share."""

    server: ChaosServer
    registry: FlakyRegistry
    folder: Path
    environment: Mapping[str, str]
    answers: dict[str, str] = field(default_factory=dict)
    """What each API answers for each model when nothing is wrong; models that think do so in some of them alone."""

    def command(self, *words: str) -> list[str]:
        """The command line of mlxbuild, with these words."""
        return [self.environment["PROGRAM"], *words]

    def ran(self, *words: str, kill_after: float | None = None) -> str:
        """Run a command to its end, or kill it after so many seconds; says how it ended."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, told = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return "killed"
        if process.returncode == 0:
            return "done"
        code = told.partition("error[")[2].partition("]")[0]
        if process.returncode < 0 or not code or code == "bug" or "Traceback" in told:
            raise Fault(f"mlxbuild {' '.join(words)} ended with {process.returncode}: {told[-2000:]}")
        return code


def ask(stage: Stage, chance: random.Random, *, waits: bool = False) -> str:
    """Ask a question over one of the APIs; the answer is the one that it always is.

    `waits` asks a model that rests because it kept dying once more, when the server says that it is tried again.
    """
    model = chance.choice(list(QUESTIONS))
    api = chance.choice(list(_ASKING))
    path, body = _ASKING[api](model, QUESTIONS[model])
    response = httpx.post(stage.server.url + path, json=body, timeout=600)
    if waits and response.status_code == 503 and _KEEPS_DYING in response.text:
        time.sleep(float(response.headers["Retry-After"]))
        response = httpx.post(stage.server.url + path, json=body, timeout=600)
    if response.status_code != 200:
        return _refusal(response)
    answer = _text(api, response.json())
    if answer != (usual := stage.answers.setdefault(f"{api} {model}", answer)):
        raise Fault(f"{api} answered {answer!r} for {model}, and not {usual!r}")
    return "answered"


def leave(stage: Stage, chance: random.Random) -> str:
    """Ask for a long answer, take in a bit of it, and go."""
    model = chance.choice(list(QUESTIONS))
    body = {"model": model, "messages": [{"role": "user", "content": _STORY}], "stream": chance.random() < 0.7}
    with httpx.Client(timeout=httpx.Timeout(60, read=chance.uniform(0.05, 3))) as client:
        try:
            with client.stream("POST", f"{stage.server.url}/v1/chat/completions", json=body) as response:
                for number, _ in enumerate(response.iter_raw()):
                    if number > chance.randrange(20):
                        return "left in a stream"
        except httpx.ReadTimeout:
            return "left while waiting"
    return "answered before"


def dawdle(stage: Stage, chance: random.Random) -> str:
    """Send a request slowly, or half of one, and hold its connection."""
    with socket.create_connection(("127.0.0.1", stage.server.port), timeout=30) as connection:
        connection.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\n")
        ends = time.monotonic() + chance.uniform(1, 40)
        try:
            while time.monotonic() < ends:
                connection.sendall(b"X")
                time.sleep(2)
        except OSError:
            return "shut out"
    return "left"


def pull(stage: Stage, chance: random.Random) -> str:
    """Pull what the registry has, by the server or by the command; leave now and then; then remove it."""
    name = f"{stage.registry.host}/chaos/hello:int4"
    how = chance.random()
    if how < 0.3:
        outcome = stage.ran("pull", name, kill_after=chance.uniform(0.5, 5) if how < 0.1 else None)
    else:
        outcome = _transfer(stage, "pull", {"model": name}, chance.uniform(0.1, 20) if how < 0.6 else 900)
    stage.ran("rm", name)
    return outcome


def push(stage: Stage, chance: random.Random) -> str:
    """Push by the server; leave now and then."""
    body = {"model": f"{stage.registry.host}/chaos/hello:int4", "insecure": True}
    copied = httpx.post(
        f"{stage.server.url}/api/copy",
        json={"source": "hello:int4", "destination": body["model"]},
        timeout=60,
    )
    if copied.status_code != 200:
        return _refusal(copied)
    return _transfer(stage, "push", body, chance.uniform(0.1, 20) if chance.random() < 0.3 else 900)


def build(stage: Stage, chance: random.Random) -> str:
    """Build a variation of the example that was never there; kill the build now and then; remove what it made."""
    number = chance.randrange(10**6)
    place = stage.folder / f"variation-{number}"
    shutil.copytree(stage.folder / "hello", place)
    recipe = place / "ModelSpec.yaml"
    recipe.write_text(recipe.read_text().replace("name: hello", f"name: variation{number}"), encoding="utf-8")
    try:
        kill = chance.uniform(0.2, 6) if chance.random() < 0.3 else None
        outcome = stage.ran("create", "-f", str(place), kill_after=kill)
    finally:
        shutil.rmtree(place)
    if outcome == "done":
        stage.ran("rm", *(f"variation{number}:{variant}" for variant in ("int4", "int8", "none")))
    return outcome


def collect(stage: Stage, chance: random.Random) -> str:
    """Remove blobs that nothing needs, while all else goes on."""
    return stage.ran("gc", kill_after=chance.uniform(0.2, 2) if chance.random() < 0.2 else None)


def kill_a_child(stage: Stage, chance: random.Random) -> str:
    """Kill a process that the server started: a runner, or whatever else it has."""
    time.sleep(chance.uniform(5, 40))
    children = stage.server.children()
    if not children:
        return "nobody there"
    child = chance.choice(children)
    try:
        name = " ".join(child.cmdline()[-2:])
        child.send_signal(signal.SIGKILL)
    except psutil.Error:
        return "already gone"
    return f"killed {name.split('/')[-1][:40]}"


def fill_the_disk(stage: Stage, chance: random.Random) -> str:
    """Fill the file system of the home, wait, remove a name meanwhile, and free it again."""
    time.sleep(chance.uniform(30, 120))
    ballast = Path(stage.environment["MLXBUILD_HOME"]).parent / "ballast"
    try:
        free = shutil.disk_usage(ballast.parent).free
        with ballast.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(free - _RESERVED_BYTES, 1))
                while True:
                    file.seek(0, os.SEEK_END)
                    file.write(b"\0" * _RESERVED_BYTES)
                    file.flush()
            except OSError:
                pass
        stage.ran("cp", "hello:int4", "spare:int4")
        removed = stage.ran("rm", "spare:int4")
        time.sleep(chance.uniform(2, 15))
    finally:
        ballast.unlink(missing_ok=True)
    return f"full; rm {removed}"


def _transfer(stage: Stage, operation: str, body: dict[str, object], patience: float) -> str:
    """Pull or push by the server; leaves after `patience` seconds."""
    ends = time.monotonic() + patience
    timeout = httpx.Timeout(60, read=min(patience, 900))
    try:
        with httpx.stream("POST", f"{stage.server.url}/api/{operation}", json=body, timeout=timeout) as response:
            if response.status_code != 200:
                response.read()
                return _refusal(response)
            last: dict[str, object] = {}
            for line in response.iter_lines():
                last = json.loads(line)
                if time.monotonic() > ends:
                    return "left"
    except httpx.ReadTimeout:
        return "left"
    if last.get("status") == "success":
        return "done"
    if "error" not in last:
        raise Fault(f"/api/{operation} ended with {last}")
    return "an error in the stream"


def _refusal(response: httpx.Response) -> str:
    """How a request was refused, by status; 500 is for faults of the server's own."""
    if response.status_code == 500 and not any(word in response.text for word in ("disk", "runner", "process ended")):
        raise Fault(f"{response.request.url}: {response.text[:2000]}")
    told = json.loads(response.text)
    code = told.get("code") or (told["error"] if isinstance(told["error"], dict) else {}).get("code")
    return f"{response.status_code} {code or told['error']}"


def _chat(model: str, question: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": question}]}


_ASKING = {
    "ollama": lambda model, question: (
        "/api/chat",
        _chat(model, question) | {"stream": False, "options": {"temperature": 0, "num_predict": _MAX_TOKENS}},
    ),
    "openai": lambda model, question: (
        "/v1/chat/completions",
        _chat(model, question) | {"temperature": 0, "max_tokens": _MAX_TOKENS},
    ),
    "anthropic": lambda model, question: (
        "/v1/messages",
        _chat(model, question) | {"temperature": 0, "max_tokens": _MAX_TOKENS},
    ),
    "responses": lambda model, question: (
        "/v1/responses",
        {"model": model, "input": question, "temperature": 0, "max_output_tokens": _MAX_TOKENS},
    ),
}


def _text(api: str, body: dict[str, object]) -> str:
    """The text of an answer."""
    answer: object
    match body:
        case {"message": {"content": answer}} if api == "ollama":
            pass
        case {"choices": [{"message": {"content": answer}}]} if api == "openai":
            pass
        case {"content": [{"text": answer}]} if api == "anthropic":
            pass
        case {"output": [*_, {"content": [{"text": answer}]}]} if api == "responses":
            pass
        case _:
            raise Fault(f"{api} answered {body}")
    return str(answer)
