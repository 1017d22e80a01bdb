"""Limits the number of connections, and closes a waiting one for a new one when the limit is reached."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Protocol

from mlxbuild.runtime.residency.setting_origins import SettingOrigins
from mlxbuild.runtime.server.failures import TooManyConnections
from mlxbuild.runtime.server.logger import log

_SAY_SECONDS = 60.0
"""The minimum interval between log entries about too many connections."""


class Evictable(Protocol):
    """A connection that can be closed in favor of another."""

    def let_go(self, why: TooManyConnections) -> None:
        """Close the connection; a request whose head is incomplete is refused."""


class _Group:
    """Connections that share a limit."""

    def __init__(self, most: int, refusal: Callable[[int], TooManyConnections]) -> None:
        self.most = most
        self._refusal = refusal
        self.count = 0
        self.waiting: dict[Evictable, None] = {}
        """The connections without a request in progress, the one that has waited longest first."""

    @property
    def refusal(self) -> TooManyConnections:
        """The error for a connection over the limit; a new one each time, as tracebacks add up on a reused one."""
        return self._refusal(self.most)


class ConnectionLimit:
    """The connections of one server.

    When the limit is reached, a new connection replaces the one that has waited longest without a complete request,
    between two requests or before the head of one has arrived. So slow clients cannot lock others out. Only if every
    connection has a request in progress is the new one refused.
    """

    def __init__(
        self,
        most: int,
        most_per_address: int | None = None,
        places: SettingOrigins | None = None,
        *,
        fitting: int | None = None,
    ) -> None:
        """`most_per_address` applies to all addresses but loopback; `fitting` is the number that descriptors allow."""
        self._places = places or SettingOrigins()
        if fitting is None or fitting >= most:
            self._all = _Group(most, self._refusal)
        else:
            self._all = _Group(fitting, self._refusal_of_descriptors)
        self._most_per_address = most_per_address
        self._groups: dict[str, _Group] = {}
        self._addresses: dict[Evictable, str] = {}
        self._said = -_SAY_SECONDS
        self.let_go = self.refused = 0
        """How many connections were closed for others, and refused, since the start."""

    @property
    def count(self) -> int:
        """The number of connections."""
        return self._all.count

    @property
    def most(self) -> int:
        """The maximum number of connections."""
        return self._all.most

    def admit(self, connection: Evictable, address: str) -> None:
        """Count a new connection, closing another one if necessary.

        Raises:
            TooManyConnections: every other connection has a request in progress.
        """
        self._addresses[connection] = "" if _is_loopback(address) else address
        for group in self._groups_of(connection):
            if not self._has_place(group):
                self._drop_address(connection)
                self.refused += 1
                self._say()
                raise group.refusal
        for group in self._groups_of(connection):
            group.count += 1
            group.waiting[connection] = None

    def answering(self, connection: Evictable) -> None:
        """Note that a request's head has arrived."""
        for group in self._groups_of(connection):
            group.waiting.pop(connection, None)

    def waiting(self, connection: Evictable) -> None:
        """Note that a connection waits for its next request."""
        if connection in self._addresses:
            for group in self._groups_of(connection):
                group.waiting.setdefault(connection)

    def forget(self, connection: Evictable) -> None:
        """Stop counting a connection that is closed."""
        if connection in self._addresses:
            for group in self._groups_of(connection):
                group.count -= 1
                group.waiting.pop(connection, None)
            self._drop_address(connection)

    def _has_place(self, group: _Group) -> bool:
        if group.count < group.most:
            return True
        longest = next(iter(group.waiting), None)
        if longest is None:
            return False
        self.forget(longest)
        longest.let_go(group.refusal)
        self.let_go += 1
        self._say()
        return True

    def _groups_of(self, connection: Evictable) -> list[_Group]:
        address = self._addresses.get(connection, "")
        if not address or self._most_per_address is None:
            return [self._all]
        return [self._groups.setdefault(address, _Group(self._most_per_address, self._refusal_of_address)), self._all]

    def _drop_address(self, connection: Evictable) -> None:
        address = self._addresses.pop(connection)
        if address in self._groups and self._groups[address].count == 0:
            del self._groups[address]

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            log.warning("too-many-connections", open=self.count, most=self.most, refused=self.refused)

    def _refusal(self, most: int) -> TooManyConnections:
        return TooManyConnections(
            f"the server has {most} connections, and takes no more; try again later",
            hint=f"raise `serve.max_connections` {self._places.of('max_connections')}, now {most}",
        )

    def _refusal_of_descriptors(self, most: int) -> TooManyConnections:
        return TooManyConnections(
            f"the server has {most} connections, and takes no more; try again later",
            hint=f"raise how many file descriptors the process may have (`ulimit -n`): they allow {most} connections",
        )

    def _refusal_of_address(self, most: int) -> TooManyConnections:
        place = self._places.of("max_connections_per_address")
        return TooManyConnections(
            f"the server has {most} connections with your address, and takes no more; try again later",
            hint=f"raise `serve.max_connections_per_address` {place}, now {most}",
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
