"""Long answers of the pages go no faster than their reader takes them.

Starlette's bridge to Flask holds whatever a view gives it, without an end, and its thread runs on. So a view
that streams waits here for what it gave to be taken by the server, which waits for the client.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_incoming.core.errors import IncomingError

log = logging.getLogger(__name__)

#: Bytes that are given at a time; so many are on their way at most.
BLOCK = 64 * 2**10
#: Seconds in which a block must be taken, and in which everything must: each answer takes a thread that pages
#: and API wait for.
PATIENCE = 30.0
LONGEST = 900.0
#: Bytes a second. Who takes fewer uses up the patience that there is for each block, and gets no more.
SLOWEST = 16 * 2**10


class ReaderStalled(Exception):
    """The client takes nothing more of an answer, which is cut off."""


class Pace:
    """What a view has given, and what the server has taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._on_its_way = 0
        self._patience = PATIENCE
        self._ends = time.monotonic() + LONGEST
        self._is_left = False
        #: A view waits for what it gave to be taken.
        self.is_used = False

    def give(self, size: int) -> None:
        """Note that bytes are on their way."""
        with self._changed:
            self.is_used = True
            self._on_its_way += size

    def taken(self, size: int) -> None:
        """Note that the server has taken bytes."""
        with self._changed:
            self._on_its_way -= size
            self._changed.notify_all()

    def leave(self) -> None:
        """Note that the client is gone. The server takes everything then, and throws it away."""
        with self._changed:
            self._is_left = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait for everything to be taken. Raises ReaderStalled."""
        began = time.monotonic()
        with self._changed:
            is_taken = self._changed.wait_for(
                lambda: self._is_left or self._on_its_way <= 0,
                max(0.0, min(self._patience, self._ends - began)),
            )
            if self._is_left:
                raise ReaderStalled("its reader has left")
        if not is_taken:
            raise ReaderStalled("its reader is too slow")
        self._patience = min(PATIENCE, self._patience + BLOCK / SLOWEST - (time.monotonic() - began))


#: Of the request that this thread answers; Starlette's bridge hands it from task to thread.
_pace: ContextVar[Pace | None] = ContextVar("incoming_pace", default=None)


async def answer_paced(app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, gone: Receive) -> None:
    """Let an application answer, and tell the view of this request what was taken, and that its reader left.

    ``gone`` are the messages behind the request's body, of which there is but one: that the client is gone.
    """
    pace = Pace()
    _pace.set(pace)
    watch: asyncio.Future[None] | None = None

    async def send_and_tell(message: Message) -> None:
        nonlocal watch
        if pace.is_used and watch is None:
            watch = asyncio.ensure_future(_watch(gone, pace))
        size = len(message.get("body", b""))  # now: whoever is in front may put another one in its place
        await send(message)
        pace.taken(size)

    try:
        await app(scope, receive, send_and_tell)
    finally:
        if watch is not None:
            watch.cancel()


async def _watch(gone: Receive, pace: Pace) -> None:
    if (await gone())["type"] == "http.disconnect":
        pace.leave()


def at_readers_pace(text: Iterable[str]) -> Iterator[bytes]:
    """Give text in blocks, the next one when the one before was taken.

    Where that doesn't happen in time, or something fails, the text ends with a line that says so: middlewares
    around us would end a broken answer as if it were whole. What fails before the first block is raised.
    """
    pace, given = _pace.get(), False
    try:
        for block in _blocks(text):
            if pace is not None:
                pace.give(len(block))
            yield block
            given = True
            if pace is not None:
                pace.wait()
    except (ReaderStalled, IncomingError) as error:
        if not given:
            raise
        log.warning("An export was cut off: %s", error)
        yield f"\n[This export was cut off here: {error}]\n".encode()


def _blocks(text: Iterable[str]) -> Iterator[bytes]:
    block = bytearray()
    for piece in text:
        block += piece.encode()
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)
