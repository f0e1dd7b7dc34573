"""Long answers of the pages go no faster than their reader takes them.

Starlette's bridge to Flask holds whatever a view gives it, without an end, and its thread runs on. So a view
that streams waits here for what it gave to be taken by the server, which waits for the client.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

from starlette.types import Message, Send

from airflow_incoming.core.errors import IncomingError

log = logging.getLogger(__name__)

#: Bytes that are given at a time; so many are on their way at most.
BLOCK = 64 * 2**10
#: Seconds in which a block must be taken, and in which everything must: each answer takes a thread that pages
#: and API wait for.
PATIENCE = 30.0
LONGEST = 900.0


class ReaderStalled(Exception):
    """The client takes nothing more of an answer, which is cut off."""


class Pace:
    """What a view has given, and what the server has taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._on_its_way = 0

    def give(self, size: int) -> None:
        """Note that bytes are on their way."""
        with self._changed:
            self._on_its_way += size

    def taken(self, size: int) -> None:
        """Note that the server has taken bytes."""
        with self._changed:
            self._on_its_way -= size
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for everything to be taken. Raises ReaderStalled."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._on_its_way <= 0, seconds):
                raise ReaderStalled("its reader is too slow")


#: Of the request that this thread answers; Starlette's bridge hands it from task to thread.
_pace: ContextVar[Pace | None] = ContextVar("incoming_pace", default=None)


def paced(send: Send) -> Send:
    """Return a ``send`` that tells the view of this request what was taken."""
    pace = Pace()
    _pace.set(pace)

    async def send_and_tell(message: Message) -> None:
        await send(message)
        pace.taken(len(message.get("body", b"")))

    return send_and_tell


def at_readers_pace(text: Iterable[str]) -> Iterator[bytes]:
    """Give text in blocks, the next one when the one before was taken.

    Where that doesn't happen in time, or something fails, the text ends with a line that says so: middlewares
    around us would end a broken answer as if it were whole. What fails before the first block is raised.
    """
    pace, ends, given = _pace.get(), time.monotonic() + LONGEST, False
    try:
        for block in _blocks(text):
            if pace is not None:
                pace.give(len(block))
            yield block
            given = True
            if pace is not None:
                pace.wait(min(PATIENCE, max(0.0, ends - time.monotonic())))
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
