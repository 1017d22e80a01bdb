"""`search` and `init` while the Hub is out of reach: what is near comes first, and a wait for the rest ends soon."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.hub_server import Fault, LocalHub
from tests.loopback_server import full_peer, silent_peer
from tests.mlxbuild.conftest import CommandLine

_CLOSED = "http://127.0.0.1:1"


def _found(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines()[1:]]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("search", seconds=3), "gave no whole answer within 0.50 s"),
        (Fault("search", drip=True), "gave no whole answer within 0.50 s"),
        (Fault("search", status=503), "answers with status 503"),
        (Fault("search", garbage=True), "cannot be read from (JSONDecodeError"),
    ],
)
def test_the_store_is_searched_though_the_hub_fails(
    mlxbuild: CommandLine, local_hub: LocalHub, fault: Fault, reason: str
) -> None:
    mlxbuild.built()
    local_hub.publish("acme/" + "tiny" * 20, {"config.json": b"{}"})
    local_hub.faults.append(fault)
    found = mlxbuild("search", "tiny", "--timeout", "0.5" if "0.50" in reason else "60", env=_at(local_hub.endpoint))
    assert (found.code, _found(found.out)) == (0, ["tiny"]), found.err
    (line,) = [line for line in found.err.splitlines() if line.startswith("warning: ")]
    assert line.startswith(f"warning: left out the Hub: the Hub at {local_hub.endpoint} {reason}")
    assert 1 <= local_hub.count("search") <= 2


@pytest.mark.parametrize(
    ("peer", "scheme", "seconds", "story"),
    [
        (silent_peer, "http", "1", "gave no whole answer within 1.00 s"),
        (silent_peer, "https", "4", "did not start TLS for 2.00 s"),
        (full_peer, "http", "4", "accepted no connection for 2.00 s"),
    ],
)
def test_peers_that_swallow_what_they_get(
    outside: CommandLine, peer: Callable[[], AbstractContextManager[str]], scheme: str, seconds: str, story: str
) -> None:
    with peer() as host:
        found = outside("search", "tiny", "--timeout", seconds, env=_at(f"{scheme}://{host}"))
    assert (found.code, found.out) == (5, "")
    assert f"error[hub-too-slow]: the Hub at {scheme}://{host} {story}" in found.err


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"HF_ENDPOINT": _CLOSED}, "Connection refused"),
        ({"HF_ENDPOINT": "http://no-such-hub.invalid"}, "no-such-hub.invalid cannot be read from"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_an_unreachable_hub_is_known_at_once(outside: CommandLine, settings: dict[str, str], told: str) -> None:
    """The time allowed is far beyond that of the whole test: neither command may wait for it."""
    for words in (["search", "tiny", "--timeout", "3600"], ["init", "acme/tiny"]):
        done = outside(*words, env=settings | {"no_proxy": "*", "NO_PROXY": "*"})
        assert (done.code, done.out) == (5, ""), done.err
        assert told in done.err


def test_what_a_slow_registry_has_told_is_kept(outside: CommandLine, local_hub: LocalHub) -> None:
    local_hub.publish("acme/tiny", {"config.json": b"{}"})
    with silent_peer() as host:
        words = ["search", "tiny", "--registry", host, "--hub", "--timeout", "1", "--json"]
        found = outside(*words, env=_at(local_hub.endpoint))
    assert found.code == 0
    assert [row["name"] for row in json.loads(found.out)] == ["hf.co/acme/tiny"]
    assert f"warning: left out {host}: no whole answer within 1.00 s" in found.err


def _at(endpoint: str) -> dict[str, str]:
    return {"HF_ENDPOINT": endpoint, "no_proxy": "*", "NO_PROXY": "*"}
