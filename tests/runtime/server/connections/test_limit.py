"""How many connections there are: slow ones make way, those that are being answered stay."""

from __future__ import annotations

import json
import resource
import threading
from contextlib import ExitStack

import pytest

from mlxbuild.runtime.server.connections.descriptors import connections_that_fit
from mlxbuild.runtime.server.connections.limit import ConnectionLimit
from mlxbuild.runtime.server.failures import TooManyConnections
from tests.runtime.server.connections.conftest import Start
from tests.runtime.server.connections.wire import answers, ask, connect, until_closed
from tests.runtime.server.running import soon

VERSION = b"GET /api/version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
UPLOAD = b"POST /api/show HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n"


class Connection:
    """One that only knows whether it was let go."""

    def __init__(self) -> None:
        self.is_gone = False

    def let_go(self, why: TooManyConnections) -> None:
        self.is_gone = True


def admits(limit: ConnectionLimit, connection: Connection, address: str) -> bool:
    try:
        limit.admit(connection, address)
    except TooManyConnections:
        return False
    return True


def test_the_one_that_has_waited_longest_goes() -> None:
    limit = ConnectionLimit(3)
    first, second, third, fourth, fifth = (Connection() for _ in range(5))
    assert all(admits(limit, each, "127.0.0.1") for each in (first, second, third))
    limit.answering(first)
    assert admits(limit, fourth, "::1")
    assert [each.is_gone for each in (first, second, third)] == [False, True, False]
    limit.forget(second)  # it is closed only now
    limit.waiting(first)
    assert admits(limit, fifth, "127.0.0.1")
    assert (third.is_gone, first.is_gone, limit.count, limit.let_go) == (True, False, 3, 2)


def test_those_that_are_answered_stay() -> None:
    limit = ConnectionLimit(1)
    first, second = Connection(), Connection()
    limit.admit(first, "127.0.0.1")
    limit.answering(first)
    assert not admits(limit, second, "127.0.0.1")
    limit.forget(second)
    assert (limit.count, limit.refused) == (1, 1)
    limit.forget(first)
    limit.forget(first)
    assert limit.count == 0
    assert admits(limit, second, "127.0.0.1")


def test_an_address_has_a_bound_of_its_own_and_loopback_has_none() -> None:
    limit = ConnectionLimit(10, 2)
    mine, others, local = ([Connection() for _ in range(3)] for _ in range(3))
    assert all(admits(limit, each, "192.0.2.1") for each in mine)
    assert [each.is_gone for each in mine] == [True, False, False]
    for each in mine[1:]:
        limit.answering(each)
    assert not admits(limit, Connection(), "192.0.2.1")
    assert all(admits(limit, each, "2001:db8::1") for each in others[:2])
    assert all(
        admits(limit, each, address) for each, address in zip(local, ("127.0.0.1", "127.0.0.2", "::1"), strict=True)
    )
    assert limit.count == 7
    for each in (*mine, *others, *local):
        limit.forget(each)
    assert limit.count == 0


@pytest.mark.parametrize(
    ("most", "fitting", "named", "unnamed"), [(1, 9, "max_connections", "ulimit"), (9, 1, "ulimit", "max_connections")]
)
def test_what_bounds_them_is_what_can_be_raised(most: int, fitting: int, named: str, unnamed: str) -> None:
    limit = ConnectionLimit(most, fitting=fitting)
    first = Connection()
    limit.admit(first, "127.0.0.1")
    limit.answering(first)
    with pytest.raises(TooManyConnections) as refused:
        limit.admit(Connection(), "127.0.0.1")
    assert refused.value.hint is not None
    assert named in refused.value.hint
    assert unnamed not in refused.value.hint


def test_a_slow_head_makes_way(start: Start) -> None:
    server = start(max_connections=4)
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(server)) for _ in range(4)]
        for each in slow:
            each.sendall(b"GET /v1/models HTTP/1.1\r\nx: ")
        assert [answer.status for answer in ask(server, VERSION)] == [200]
        [told] = answers(until_closed(slow[0]))
        error = json.loads(told.body)
        assert (told.status, error["code"], error["kind"]) == (503, "too-many-connections", "infrastructure")
        assert "`serve.max_connections` in config.yaml" in error["hint"]
        slow[3].sendall(b"y\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert answers(until_closed(slow[3]))[0].status == 200


def test_where_all_are_answered_the_next_one_is_told_so(start: Start) -> None:
    server = start(max_connections=2)
    with ExitStack() as stack:
        busy = [stack.enter_context(connect(server)) for _ in range(2)]
        for each in busy:
            each.sendall(UPLOAD.replace(b"connection", b"expect: 100-continue\r\nconnection"))
            assert each.recv(100).startswith(b"HTTP/1.1 100")
        with connect(server) as refused:
            [told] = answers(until_closed(refused))
        assert (told.status, told.headers["connection"]) == (503, "close")
        assert json.loads(told.body)["code"] == "too-many-connections"
        for each in busy:
            each.sendall(b"{}")
            assert answers(until_closed(each))[0].status == 400
    soon(lambda: ask(server, VERSION)[0].status == 200)


def test_a_burst_is_told_so_each(start: Start) -> None:
    """Those that make way for others before they are looked at have sent their requests already."""
    server = start(max_connections=2)
    all_sent = threading.Event()
    server.loop.call_soon_threadsafe(all_sent.wait)
    with ExitStack() as stack:
        burst = [stack.enter_context(connect(server)) for _ in range(8)]
        for each in burst:
            each.sendall(VERSION)
        all_sent.set()
        statuses = [answer.status for each in burst for answer in answers(until_closed(each))]
    assert sorted(statuses) == [200, 200, *[503] * 6]


def test_there_are_never_more_than_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, fitting in ((1024, 768), (256, 128), (65_536, 4096), (resource.RLIM_INFINITY, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections_that_fit(4096) == fitting
