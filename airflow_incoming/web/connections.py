"""Connections, of which there are only so many: each is an open file, which a process may have so many of."""

from __future__ import annotations

import asyncio
import logging
import resource
from typing import TYPE_CHECKING, Any

from airflow_incoming.core.addresses import Networks, is_in, sender_of
from airflow_incoming.services.journal import Seldom
from airflow_incoming.web.supply import Supply

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
else:
    Base = object

log = logging.getLogger(__name__)

#: Open files that are no connections of senders: the database's, Redis', logs.
RESERVED_FILES = 256
#: Open files below which a few addresses can keep others waiting.
FEW_FILES = 4096
#: Seconds in which a connection beyond the share of its address must say what it wants. A burst waits in the
#: backlog with all that it says, so most need none.
MUST_SPEAK = 0.1


def open_files() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


def most_connections() -> int:
    """Return how many connections this process may have."""
    return max(open_files() - RESERVED_FILES, open_files() // 2)


def most_waiting() -> int:
    """Return how many connections may wait for their first head; as many may wait for a body."""
    return most_connections() // 2


class Connections:
    """How many connections a process may have, and who has them. A trusted proxy may have all."""

    def __init__(self, most: int, *, share: float, trusted: Networks) -> None:
        self._most = most
        self._share = share
        self._trusted = trusted
        self._open = Supply()

    def enter(self, peer: str) -> str | None:
        """Count a connection; return under which name, None where its address has enough."""
        share = 1.0 if is_in(peer, self._trusted) else self._share
        sender = sender_of(peer)
        if not self._open.has(sender, self._most, share):
            return None
        self._open.take(sender)
        return sender

    def leave(self, sender: str) -> None:
        """Forget a connection."""
        self._open.give_back(sender)


class FirstHead(Base):
    """To be mixed into a protocol of Airflow's server: one address hasn't all connections that say nothing.

    Once a connection's first head is whole, it is as any other, however long it is kept. So browsers, proxies
    and health checks never meet this. Of what can't be read some lines are logged, not one for each.
    """

    silent: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _calm(self.logger)
        self._is_silent = False
        self._sender: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head, soon if the peer's address has enough silent connections."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple):  # a socket in the file system
            return
        self._is_silent = True
        self._sender = self.silent.enter(peer[0])
        if self._sender is None:
            # Twice, for uvloop asks its timers before it reads.
            self.loop.call_later(MUST_SPEAK, self.loop.call_later, MUST_SPEAK / 10, self._end_if_silent)

    def data_received(self, data: bytes) -> None:
        """Parse; then see whether a head is whole, or a websocket has begun."""
        super().data_received(data)
        begun: object = self.cycle  # typed as if it were always there
        if self._is_silent and (begun is not None or self.transport.get_protocol() is not self):
            self._end_silence()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._end_silence()
        super().connection_lost(exc)

    def _end_silence(self) -> None:
        self._is_silent = False
        if self._sender is not None:
            self.silent.leave(self._sender)
            self._sender = None

    def _end_if_silent(self) -> None:
        if self._is_silent:
            self.transport.abort()


def warn_of_few_files() -> None:
    """Tell whoever runs a server that a few strangers may keep others waiting."""
    if open_files() < FEW_FILES:
        log.warning(
            "This server may have %d files open, one for each connection; raise that (LimitNOFILE of "
            "systemd, or ulimit -n) to %d at least",
            open_files(),
            FEW_FILES,
        )


_seldom = Seldom()


def _calm(logger: logging.Logger) -> logging.Logger:
    """Return the same logger, but for warnings, which strangers cause: of those it writes some."""
    calm = logging.Logger(logger.name)  # noqa: LOG001 - the server's own stays as it is
    calm.parent = logger
    calm.addFilter(lambda record: record.levelno > logging.WARNING or _seldom.filter(record))
    return calm
