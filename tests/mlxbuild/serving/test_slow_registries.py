"""Registries that never come to an end: transfers go with their clients, and nobody else waits for them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.push import push
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from tests.mlxbuild.serving.conftest import PROGRAM, ServeProcess, serving
from tests.mlxbuild.serving.test_faults import soon
from tests.registries import RegistryProcess, docker_registry
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy

LANES = 3


def endless() -> list[Fault]:
    """The first request is answered with nothing, all others a byte at a time."""
    return [Fault("GET", silent=True), Fault("GET", times=99, status=200, body=b"{" + b" " * 1_000_000, drip=0)]


@pytest.fixture(scope="module")
def registry(built_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """One that holds `acme/hello:1`."""
    with docker_registry(tmp_path_factory.mktemp("slow") / "registry") as running:
        store = Store.open(built_home)
        digest = store.tags.resolve(Reference.parse("hello"))
        push(store, digest, Reference.parse(f"{running.host}/acme/hello:1"), settings=Settings())
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServeProcess]:
    """A server of a few lanes over an empty home; what it gives up, it gives up for its clients' sake."""
    environment = {
        "MLXBUILD_MAX_TRANSFERS": str(LANES),
        "MLXBUILD_GRACE_SECONDS": "0.5",
        "MLXBUILD_REGISTRY_READ_SECONDS": "600",
        "MLXBUILD_REGISTRY_LEAST_BYTES_PER_SECOND": "1",
        "NO_PROXY": "127.0.0.1",
    }
    with serving(Home(tmp_path / "home"), environment=environment) as running:
        yield running


def ask(stack: ExitStack, server: ServeProcess, route: str, name: str, *, stream: bool) -> None:
    """Ask for something that does not end; the client goes with the stack."""
    client = stack.enter_context(httpx.Client(base_url=server.url, timeout=0.05 if not stream else 60))
    body = {"model": name, "stream": stream} if route == "pull" else {"model": "made", "from": name, "stream": stream}
    if stream:
        answer = stack.enter_context(client.stream("POST", f"/api/{route}", json=body))
        assert answer.status_code == 200
        return
    with pytest.raises(httpx.ReadTimeout):  # and it hangs up
        client.post(f"/api/{route}", json=body)


def pulled(server: ServeProcess, registry: RegistryProcess) -> str:
    """What the last line of a pull that is sound says."""
    told = httpx.post(
        f"{server.url}/api/pull", json={"model": f"{registry.host}/acme/hello:1", "stream": False}, timeout=60
    )
    return f"{told.status_code} {told.text}"


def test_full_lanes_refuse_and_are_free_when_the_clients_have_gone(
    server: ServeProcess, registry: RegistryProcess
) -> None:
    with FaultProxy(registry.host) as slow:
        slow.faults += endless()
        with ExitStack() as stack:
            for number in range(LANES):
                route = "create" if number == 1 else "pull"
                ask(stack, server, route, f"{slow.host}/acme/hello:{number}", stream=True)
            soon(lambda: len(slow.seen) == LANES)
            for route in ("pull", "create"):
                refused = httpx.post(
                    f"{server.url}/api/{route}", json={"model": "a.example/b:1", "from": "a.example/c"}
                )
                assert refused.status_code == 503
                assert int(refused.headers["Retry-After"]) > 0
                assert refused.json()["code"] == "server-busy"
        soon(lambda: pulled(server, registry) == '200 {"status":"success"}')
        collected = subprocess.run(
            [PROGRAM, "--home", server.home.root, "gc"], check=True, capture_output=True, timeout=60
        )
        assert b"waiting" not in collected.stderr


def test_a_client_that_waits_for_the_end_alone_takes_its_transfer_along(
    server: ServeProcess, registry: RegistryProcess
) -> None:
    with FaultProxy(registry.host) as slow, ExitStack() as stack:
        slow.faults += endless()
        for number in range(2 * LANES):
            soon(lambda number=number: gave_up(stack, server, f"{slow.host}/acme/hello:{number}"))
        soon(lambda: pulled(server, registry) == '200 {"status":"success"}')


def gave_up(stack: ExitStack, server: ServeProcess, name: str) -> bool:
    """Whether a pull was taken up, and left by its client."""
    try:
        ask(stack, server, "pull", name, stream=False)
    except pytest.fail.Exception:  # it was refused at once
        return False
    return True


def test_a_server_that_is_stopped_waits_for_no_registry(server: ServeProcess) -> None:
    with FaultProxy("127.0.0.1:1") as slow, ExitStack() as stack:
        slow.faults += endless()
        for number in range(LANES):
            ask(stack, server, "pull", f"{slow.host}/acme/hello:{number}", stream=True)
        soon(lambda: len(slow.seen) == LANES)
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0, "it had to be ended"
