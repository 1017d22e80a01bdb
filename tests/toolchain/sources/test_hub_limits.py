"""A Hub that is slow or silent: each wait ends at its limit with the reason, or when it is cancelled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxbuild.registry.oci.remote.watch import Limits
from mlxbuild.toolchain.sources.errors import HubTooSlow
from mlxbuild.toolchain.sources.hub import Hub
from tests.cancelling import ends_when_cancelled
from tests.hub_server import Fault, LocalHub
from tests.loopback_server import full_peer, silent_peer

_WEIGHTS = bytes(range(256)) * 1000
_QUICK = Limits(connect_seconds=0.3, read_seconds=0.3, least_bytes_per_second=65536 / 0.4)
_NEVER = Limits(connect_seconds=600, read_seconds=600, least_bytes_per_second=1)
_ASKED: dict[str, Callable[[Hub, str], object]] = {
    "info": lambda hub, commit: hub.commit("acme/tiny", "main"),
    "tree": lambda hub, commit: hub.files("acme/tiny", commit),
    "search": lambda hub, commit: hub.search("tiny", 3),
    "blob": lambda hub, commit: hub.reader("acme/tiny", commit, "model.safetensors")(0, 100_000),
    "resolve": lambda hub, commit: hub.download("acme/tiny", commit, "config.json"),
}


@pytest.fixture
def commit(local_hub: LocalHub) -> str:
    """A repository of the Hub."""
    return local_hub.publish("acme/tiny", {"config.json": b"{}" + b" " * 1000, "model.safetensors": _WEIGHTS})


@pytest.mark.parametrize("fault", ["drips", "silent"])
@pytest.mark.parametrize("route", _ASKED)
def test_a_slow_hub_is_given_up_with_the_reason(
    local_hub: LocalHub, commit: str, pauses: list[float], route: str, fault: str
) -> None:
    if fault == "drips":
        local_hub.faults.append(Fault(route, method="GET", drip=True))
    else:
        local_hub.faults.append(Fault(route, seconds=5))
    with pytest.raises(HubTooSlow) as caught:
        _ASKED[route](Hub(limits=_QUICK), commit)
    told = caught.value.diagnostics()
    assert caught.value.exit_code == 5
    assert local_hub.endpoint in told
    if fault == "drips":
        assert "is the minimum" in told
        assert "MLXBUILD_REGISTRY_LEAST_BYTES_PER_SECOND" in told
    else:
        assert "gave no answer for 0.30 s" in told
        assert "read_seconds" in told


@pytest.mark.parametrize(("peer", "told"), [(silent_peer, "did not start TLS"), (full_peer, "accepted no connection")])
def test_peers_that_are_no_hub(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, pauses: list[float], peer: Callable[..., object], told: str
) -> None:
    with peer() as host:  # type: ignore[attr-defined]
        monkeypatch.setenv("HF_ENDPOINT", f"https://{host}")
        with pytest.raises(HubTooSlow, match=told):
            Hub(limits=_QUICK).commit("acme/tiny", "main")


@pytest.mark.parametrize("fault", [Fault("resolve", method="GET", drip=True), Fault("resolve", seconds=20)])
def test_a_download_ends_when_it_is_cancelled(local_hub: LocalHub, commit: str, fault: Fault) -> None:
    local_hub.faults.append(fault)
    assert ends_when_cancelled(lambda: Hub(limits=_NEVER).download("acme/tiny", commit, "config.json"))


def test_what_others_ask_the_hub_has_its_own_time_limits(local_hub: LocalHub, commit: str) -> None:
    """Our connections lie in the pool of the client that all of the process share."""
    from huggingface_hub.utils import get_session

    Hub(limits=_QUICK).commit("acme/tiny", "main")
    local_hub.faults.append(Fault("info", seconds=1))
    answer = get_session().get(f"{local_hub.endpoint}/api/models/acme/tiny", timeout=30)
    assert answer.json()["sha"] == commit
