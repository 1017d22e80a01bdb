"""Commands that meet registries and Hubs which never come to an end: they tell why they give up, and end at once when
they are interrupted."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.hub_server import Fault as HubFault
from tests.hub_server import LocalHub
from tests.loopback_server import silent_peer
from tests.mlxbuild.conftest import CommandLine
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy

QUICK = "connect_seconds: 0.4\nread_seconds: 0.4\nleast_bytes_per_second: 200000\n"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["pull", "HOST/acme/tiny:1"], "drips"),
        (["login", "HOST", "--username", "me", "--password-stdin"], "silent"),
        (["search", "tiny", "--registry", "HOST", "--no-hub"], "drips"),
    ],
)
def test_a_command_gives_up_and_tells_why(outside: CommandLine, words: list[str], kind: str) -> None:
    (outside.home.root / "config.yaml").write_text(QUICK)
    with FaultProxy("127.0.0.1:1") as slow:
        body = b"{" + b" " * 100_000
        fault = {"silent": True} if kind == "silent" else {"status": 200, "body": body, "drip": 0}
        slow.faults.append(Fault("GET", times=99, **fault))  # type: ignore[arg-type]
        done = outside(*(word.replace("HOST", slow.host) for word in words), stdin="secret\n")
    assert done.code == 5, done.err
    assert "error[registry-too-slow]" in done.err
    assert slow.host in done.err
    assert "in config.yaml, or MLXBUILD_REGISTRY_" in done.err


def test_an_interruption_ends_a_wait_for_a_manifest(outside: CommandLine) -> None:
    with FaultProxy("127.0.0.1:1") as slow:
        slow.faults.append(Fault("GET", times=99, silent=True))
        interrupted(outside, lambda: bool(slow.seen), "pull", f"{slow.host}/acme/tiny:1")


def test_an_interruption_ends_waits_in_threads(outside: CommandLine) -> None:
    with FaultProxy("127.0.0.1:1") as slow:
        slow.faults += [
            Fault("GET", "/tags/", status=200, body=b'{"tags": ["a", "b", "c", "d", "e", "f"]}'),
            Fault("GET", "/manifests/", times=99, silent=True),
        ]
        interrupted(
            outside, lambda: len(slow.asked("GET", "/manifests/")) == 4, "list", "--remote", f"{slow.host}/acme/tiny"
        )


def test_an_interruption_ends_a_lock_that_waits_for_the_hub(
    outside: CommandLine, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_hub.publish("acme/tiny", {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"x" * 100})
    local_hub.faults.append(HubFault("resolve", seconds=60))
    recipe = 'name: tiny\nversion: "1.0"\nbase: {hf_repo: acme/tiny}\n'
    (outside.folder / "ModelSpec.yaml").write_text(recipe)
    environment = {"HF_ENDPOINT": local_hub.endpoint, "HF_HOME": str(outside.folder / "hf")}
    kept = outside.environment
    monkeypatch.setattr(CommandLine, "environment", lambda _self, more=None: kept(environment | (more or {})))
    interrupted(outside, lambda: local_hub.count("resolve", "HEAD") > 0, "lock")


def interrupted(mlxbuild: CommandLine, is_waiting: Callable[[], bool], *words: str) -> None:
    """Interrupt a command as soon as it waits, and make sure that it ends long before any time limit."""
    command = mlxbuild.start(*words)
    try:
        for _ in range(600):
            if is_waiting():
                break
            assert command.poll() is None, command.communicate()[1]
            time.sleep(0.1)
        command.send_signal(signal.SIGINT)
        _, told = command.communicate(timeout=30)
    finally:
        command.kill()
    assert (command.returncode, told.strip().splitlines()[-1]) == (130, "interrupted")


def test_a_peer_that_says_nothing_is_no_server_of_ours(outside: CommandLine) -> None:
    with silent_peer() as host:
        done = outside("ps", env={"MLXBUILD_HOST": host})
    assert done.code == 5
    assert "error[no-server]" in done.err
