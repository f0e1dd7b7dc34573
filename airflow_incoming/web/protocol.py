"""uvicorn's HTTP protocol with bounds on connections and heads, which uvicorn alone doesn't have.

The guard sees a request when its head is complete. Before that, a client could keep a connection
open for ever by saying nothing, keep so many that the system allows no more, or fill the memory with a header
that never ends. What it could do behind a
chunked body with trailers is bounded in :mod:`web.heads`; h11 does that itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_incoming.web.connections import Connections
from airflow_incoming.web.protocols import reading_whole

#: Bytes. Above the guard's limit, so that usually its answer (431) comes first.
MAX_HEAD = 128 * 2**10
#: Seconds from the connection, or from the first byte of a later request, to the end of the head.
HEAD_TIMEOUT = 10.0


class BoundedHead:
    """To be mixed into one of uvicorn's protocols: closes connections whose head is too large or slow.

    ``allowed`` bounds how many there are; None: nothing does.
    """

    allowed: Connections | None = None
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._sender: str | None = None
        self._is_open = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Expect a head from now on, unless the peer's address has enough connections."""
        if self.allowed is not None:
            peer = transport.get_extra_info("peername")
            self._sender = self.allowed.enter(peer[0] if isinstance(peer, tuple) else "")
            if self._sender is None:
                transport.abort()
                return
        self._is_open = True
        super().connection_made(transport)  # type: ignore[misc]  # uvicorn's, as below
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Parse; then see whether a head was completed, or is still on its way."""
        before = self.cycle
        super().data_received(data)  # type: ignore[misc]
        if self.cycle is not before:
            self._forget_head()
        elif before is None or before.response_complete:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self.transport.close()
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        if not self._is_open:
            return
        if self.allowed is not None and self._sender is not None:
            self.allowed.leave(self._sender)
        self._forget_head()
        super().connection_lost(exc)  # type: ignore[misc]

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def _forget_head(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class BoundedHeadProtocol(BoundedHead, reading_whole(AutoHTTPProtocol, ("",))):  # type: ignore[misc]  # as installed
    """The parser that uvicorn would choose, with a bounded head that ends where it ends."""
