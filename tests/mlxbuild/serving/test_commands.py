"""The commands that speak with a server, and those that start and configure it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

from mlxbuild.cli.conversation import thinking_of
from mlxbuild.registry.core.home import Home
from mlxbuild.runtime.engine.input.preparation import OnlyEmbeds
from mlxbuild.serving.client import ServedModel, Server
from tests.mlxbuild.serving.conftest import PROGRAM, ServeProcess, serving
from tests.mlxbuild.serving.test_faults import soon

ANSWER = "A lock is a file beside the spec that pins every source by its digest."
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(served: ServeProcess) -> Command:
    """Runs `mlxbuild` where that server is found."""

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLXBUILD_", "OLLAMA_"))}
        environment = kept | {"MLXBUILD_HOME": str(served.home.root), "OLLAMA_HOST": served.url} | more
        return subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=120, input="")

    return run


@pytest.fixture(autouse=True)
def _nothing_in_memory(served: ServeProcess) -> None:
    """Whatever other tests have loaded."""
    for model in httpx.get(f"{served.url}/api/ps", timeout=60).json()["models"]:
        httpx.post(f"{served.url}/api/stop", json={"model": model["name"]}, timeout=60)


def test_run_asks_the_server(command: Command) -> None:
    command("stop", "hello")
    done = command("run", "hello", "What is a lock?", "--no-think", "--keepalive", "1h", "--verbose")
    assert (done.returncode, done.stdout.strip()) == (0, ANSWER), done.stderr
    assert "tokens/s" in done.stderr
    (model,) = [each for each in json.loads(command("ps", "--json").stdout) if each["name"].startswith("hello:")]
    assert model["holding"]["device"] in ("cpu", "gpu")
    assert model["holding"]["compiled"] is False, "tests compile nothing"
    listed = command("ps").stdout
    assert "hello:" in listed
    assert listed.splitlines()[0].split()[2:5] == ["DISK", "WEIGHTS", "MEMORY"]
    assert "in 59 min" in listed or "in 1 h" in listed
    assert command("stop", "hello").stdout == "stopped hello\n"
    assert command("stop", "hello").stdout == "hello was not in memory\n"
    assert command("ps").stderr == "no models are in memory\n"


def test_show_tells_of_memory_what_ps_tells_of_a_loaded_model(command: Command) -> None:
    shown = json.loads(command("show", "hello", "--json").stdout)
    command("run", "hello", "What is a lock?", "--keepalive", "1h")
    (model,) = json.loads(command("ps", "--json").stdout)
    memory = shown["memory"]
    assert (memory["context"], memory["process"]) == (model["memory"]["context"], model["memory"]["process"])
    assert shown["size"] == pytest.approx(model["size_disk"], rel=0.1)
    if model["holding"]["device"] == "cpu":
        assert memory["held_as"] == model["holding"]["dtype"] == "float32"
        assert memory["weights"] == pytest.approx(model["memory"]["weights"], rel=0.1)
        assert "held as float32 on a CPU" in command("show", "hello").stdout


def test_run_does_without_a_server(command: Command) -> None:
    for more in ({"OLLAMA_HOST": "127.0.0.1:1"}, {}):
        words = ("run", "hello", "What is a lock?", "--no-think", *(() if more else ("--embedded",)))
        done = command(*words, **more)
        assert (done.returncode, done.stdout.strip()) == (0, ANSWER), done.stderr
    assert command("ps").stderr == "no models are in memory\n"
    missing = command("ps", OLLAMA_HOST="127.0.0.1:1")
    assert missing.returncode == 5
    assert "no mlxbuild server answers on 127.0.0.1:1" in missing.stderr


@pytest.mark.parametrize("words", [(), ("--think",), ("--effort", "low")])
def test_run_answers_alike_with_and_without_a_server(command: Command, words: tuple[str, ...]) -> None:
    words = ("run", "hello", "What is a lock?", "--max-tokens", "12", *words)
    served, embedded = command(*words), command(*words, "--embedded")
    assert served.returncode == embedded.returncode == 0
    assert (served.stdout, served.stderr) == (embedded.stdout, embedded.stderr)
    assert served.stdout + served.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-tokens", "0"), "max_tokens cannot be 0"),
        (("--seed", "-1"), "seed cannot be -1"),
        (("--temperature", "11"), "temperature cannot be 11.0"),
        (("--keepalive", "5"), "keep_alive cannot be '5'"),
        (("--format", '{"type": "nothing"}'), "nothing"),
    ],
)
def test_options_are_refused_alike_with_and_without_a_server(
    command: Command, words: tuple[str, ...], message: str
) -> None:
    words = ("run", "hello", "Hi", *words)
    served, embedded = command(*words), command(*words, "--embedded")
    assert (served.returncode, embedded.returncode) == (2, 2)
    assert message in served.stderr
    assert served.stderr == embedded.stderr


def test_what_a_model_cannot_do_is_the_same_for_a_served_one() -> None:
    server = Server("http://127.0.0.1:1", {})
    assert thinking_of(ServedModel(server, "plain", True, ("completion",)), "high") is None
    assert thinking_of(ServedModel(server, "thinker", True, ("completion", "thinking")), None) is True
    with pytest.raises(OnlyEmbeds, match="the model only turns texts into vectors"):
        ServedModel(server, "encoder", False, ("embedding",)).generate("Hi")


def test_chat_asks_the_server(command: Command, served: ServeProcess) -> None:
    environment = os.environ | {"MLXBUILD_HOME": str(served.home.root), "OLLAMA_HOST": served.url}
    done = subprocess.run(
        [PROGRAM, "chat", "hello", "--no-think"],
        env=environment,
        input="What is a lock?\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == ANSWER
    assert "hello:" in command("ps").stdout


def test_what_cannot_be_asked(command: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    picture = tmp_path_factory.mktemp("pictures") / "cat.png"
    picture.write_bytes(b"\x89PNG")
    for words, code in (
        (("run", "hello", f"What is {picture}"), "images-not-taken"),
        (("run", "hello", "Hi", "--think=much"), "unknown-effort"),
        (("run", "hello", "Hi", "--format", "xml"), "unreadable-format"),
        (("run", "hello", "Hi", "--format", "[1]"), "unreadable-format"),
        (("run", "nobody", "Hi"), "unknown-reference"),
        (("run", "hello", "Hi", "--keepalive", "5"), "invalid-keep-alive"),
        (("bench", "hello", "--streams", "none"), "invalid-streams"),
    ):
        done = command(*words)
        assert (done.returncode, f"error[{code}]" in done.stderr) == (2, True), done.stderr


def test_bench(command: Command) -> None:
    done = command("bench", "hello", "--streams", "1,2", "--tokens", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert [each["streams"] for each in json.loads(done.stdout)] == [1, 2]
    assert all(each["tokens_per_second"] > 0 < each["first_token_seconds"] for each in json.loads(done.stdout))
    assert "TOKENS/S" in command("bench", "hello", "--streams", "1", "--tokens", "8").stdout


def test_the_configuration_is_told(command: Command) -> None:
    told = json.loads(command("config", "show", "--origin", "--json", MLXBUILD_MAX_QUEUE="7").stdout)
    assert told["max_queue"] == {"value": 7, "origin": "MLXBUILD_MAX_QUEUE"}
    assert told["host"]["origin"] == "OLLAMA_HOST"
    drafts = command("config", "show", "--origin", MLXBUILD_DRAFTS="big=small, acme/*=other:int4").stdout
    assert "big=small, acme/*=other:int4  MLXBUILD_DRAFTS" in drafts
    assert told["keep_alive"] == {"value": "300s", "origin": "default"}
    assert "MLXBUILD_MAX_QUEUE" in command("config", "show", "--origin", MLXBUILD_MAX_QUEUE="7").stdout


def test_other_addresses_need_keys(command: Command, built_home: Home) -> None:
    refused = command("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "error[no-api-keys]" in refused.stderr
    key = command("config", "add-key", "tests").stdout.strip()
    try:
        assert "tests" in command("config", "keys").stdout
        with serving(built_home, "--host", "0.0.0.0") as server:
            url = server.url.replace("0.0.0.0", "127.0.0.1")
            assert httpx.get(f"{url}/api/tags", timeout=60).status_code == 401
            assert (
                httpx.get(f"{url}/api/tags", headers={"Authorization": f"Bearer {key}"}, timeout=60).status_code == 200
            )
            asked = command("ps", OLLAMA_HOST=url, MLXBUILD_API_KEY=key)
            assert asked.stderr == "no models are in memory\n"
            refused = command("ps", OLLAMA_HOST=url)
            assert "error[no-api-key]" in refused.stderr
            assert "hint: set MLXBUILD_API_KEY to a key of this server" in refused.stderr
            assert "Bearer" not in refused.stderr
            for wrong in ("", "mlxb_wrong"):
                refused = command("run", "hello", "What is a lock?", OLLAMA_HOST=url, MLXBUILD_API_KEY=wrong)
                assert (refused.returncode, refused.stdout) == (2, "")
                assert "error[no-api-key]" in refused.stderr
                assert "set MLXBUILD_API_KEY" in refused.stderr
                assert refused.stderr.endswith("; --embedded does not use a server\n")
            assert key not in (built_home.logs / "serve.jsonl").read_text()
    finally:
        command("config", "remove-key", "tests")
    file = built_home.root / "api-keys.json"
    file.write_text("[{}]")
    try:
        for address in ("0.0.0.0", "127.0.0.1"):
            broken = command("serve", "--host", address, "--port", "0")
            assert broken.returncode == 6
            assert "error[broken-key-file]: the server's API keys cannot be read: an entry" in broken.stderr
            assert f"--> {file}" in broken.stderr
    finally:
        file.unlink()
    with serving(built_home, "--host", "0.0.0.0", "--no-api-key") as server:
        assert httpx.get(f"{server.url.replace('0.0.0.0', '127.0.0.1')}/api/tags", timeout=60).status_code == 200


@pytest.mark.parametrize("setting", ["preload", "pin"])
def test_no_server_begins_without_the_models_it_is_to_load(command: Command, setting: str) -> None:
    variable = f"MLXBUILD_{setting.upper()}"
    refused = command("serve", "--port", "0", **{variable: "hello, helo"})
    assert refused.returncode == 2
    assert f"error[invalid-settings]: `serve.{setting}` cannot name `helo`: model 'helo' not found" in refused.stderr
    assert f"--> {variable}" in refused.stderr
    assert "did you mean `hello:" in refused.stderr


def test_options_come_before_the_environment(command: Command, built_home: Home) -> None:
    refused = command("serve", "--port", "0", "--memory", "banana", MLXBUILD_MEMORY="1GB")
    assert refused.returncode == 2
    assert "`serve.memory` cannot be 'banana': it is not a size\n  --> --memory\n" in refused.stderr
    refused = command("serve", "--port", "0", "--models", "9999999")
    assert "it is too large\n  --> --models\n" in refused.stderr
    environment = {"MLXBUILD_KEEP_ALIVE": "1s", "MLXBUILD_PRELOAD": "hello"}
    with serving(built_home, "--keep-alive", "-1", "--models", "1", environment=environment) as server:
        soon(lambda: httpx.get(f"{server.url}/api/health?ready", timeout=60).status_code == 200)
        (model,) = httpx.get(f"{server.url}/api/ps", timeout=60).json()["models"]
        assert model["forever"]


def test_a_server_is_not_ready_without_the_models_it_was_to_load(command: Command, built_home: Home) -> None:
    command("cp", "hello", "pinned")
    with serving(built_home, environment={"MLXBUILD_PIN": "pinned"}) as server:

        def ready() -> httpx.Response:
            return httpx.get(f"{server.url}/api/health?ready", timeout=60)

        soon(lambda: ready().status_code == 200)
        command("rm", "pinned")
        assert (ready().status_code, ready().json()["reason"]) == (503, "model 'pinned' not found")
        command("cp", "hello", "pinned")
        assert ready().status_code == 200
    command("rm", "pinned")


def test_an_address_that_is_taken(command: Command, served: ServeProcess) -> None:
    taken = command("serve", "--port", served.url.rpartition(":")[2])
    assert taken.returncode == 6
    assert "error[cannot-listen]" in taken.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(built_home: Home, number: int) -> None:
    with serving(built_home, environment={"MLXBUILD_GRACE_SECONDS": "0.1", "MLXBUILD_PRELOAD": "hello"}) as server:
        long = {"model": "hello", "prompt": "What is a lock?", "options": {"temperature": 1.5, "num_predict": 2000}}
        with httpx.stream("POST", f"{server.url}/api/generate", json={**long, "raw": True}, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(number)
            *_, last = lines
        told = json.loads(last)
        assert told.get("done") or told["code"] == "server-stopping"
        assert server.process.wait(timeout=30) == 0
    log = [json.loads(line) for line in (built_home.logs / "serve.jsonl").read_text().splitlines()]
    assert log[-1]["event"] == "stopped"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(built_home: Home, number: int, code: int) -> None:
    with serving(built_home, environment={"MLXBUILD_GRACE_SECONDS": "100"}) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as unfinished:
            unfinished.sendall(b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
            httpx.get(f"{server.url}/api/version", timeout=60)
            server.process.send_signal(number)
            soon(lambda: httpx.get(f"{server.url}/api/health?ready", timeout=60).status_code == 503)
            assert server.process.poll() is None
            server.process.send_signal(number)
            assert server.process.wait(timeout=30) == code
