"""A TCP proxy that makes a network bad: slow, in slices, silent, cut, and cut during a COMMIT."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

#: What PostgreSQL's clients send instead of a start-up message: may we speak TLS, GSSAPI; cancel.
_SPECIAL = (80877103, 80877104, 80877102)
_STORES = b"EXECUTE incoming_append"


class Commits:
    """Reads what a PostgreSQL client sends, and tells of each message that commits something.

    That is a COMMIT, or the one message in which a receiver stores a batch of events.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._started = False

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; tell whether such a message became complete with them."""
        self._buffer += data
        found = False
        while (message := self._next()) is not None:
            found = found or message.rstrip(b"\0; ").upper() == b"QCOMMIT" or _STORES in message
        return found

    def _next(self) -> bytes | None:
        """Return the next message, its type first, without its length."""
        head = 1 if self._started else 0
        if len(self._buffer) < head + 4:
            return None
        (length,) = struct.unpack_from("!I", self._buffer, head)
        if len(self._buffer) < head + length:
            return None
        kind, content = self._buffer[:head], self._buffer[head + 4 : head + length]
        self._buffer = self._buffer[head + length :]
        if not self._started:
            self._started = struct.unpack("!I", content[:4])[0] not in _SPECIAL
        return kind + content


class Proxy:
    """Listens on ``port`` for a server on this machine. Its attributes may be set at any time.

    ``latency``: seconds by which each chunk is late, in each direction. ``slices``: bytes of what the
    server says that are passed on at a time, with ``pause`` seconds between. ``silent``: nothing is
    passed on. ``commit``: what becomes of every ``every``-th COMMIT of PostgreSQL: it is lost before the
    server has it, or done and never answered; either way the connection is cut. ``cuts`` counts those.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.latency = 0.0
        self.slices = 0
        self.pause = 0.001
        self.silent = False
        self.commit: Literal["passed", "lost", "unanswered"] = "passed"
        self.every = 3
        self.cuts = 0
        self._commits = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Cut every connection that is open now."""
        self._loop.call_soon_threadsafe(lambda: [self._abort(writer) for writer in tuple(self._open)])

    def close(self) -> None:
        """Stop listening, and cut everything."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for writer in tuple(self._open):
            self._abort(writer)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            self._abort(writer)
            return
        both = (writer, far_writer)
        self._open.update(both)
        connection = _Connection()
        there = self._pump(reader, far_writer, lambda data: self._forth(connection, data))
        back = self._pump(far_reader, writer, lambda data: self._back(connection, data), sliced=True)
        with suppress(asyncio.CancelledError):
            await asyncio.wait(map(asyncio.ensure_future, (there, back)), return_when="FIRST_COMPLETED")
        for each in both:
            self._abort(each)
        self._open.difference_update(both)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: Callable[[bytes], Awaitable[bool]],
        *,
        sliced: bool = False,
    ) -> None:
        """Pass on what comes, until somebody hangs up or the connection is to be cut."""
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.latency:
                    await asyncio.sleep(self.latency)
                while self.silent:
                    await asyncio.sleep(0.05)
                if not await passes(data):
                    return
                size = self.slices if sliced and self.slices else len(data)
                for begin in range(0, len(data), size):
                    writer.write(data[begin : begin + size])
                    await writer.drain()
                    if size < len(data):
                        await asyncio.sleep(self.pause)

    async def _forth(self, connection: _Connection, data: bytes) -> bool:
        if not connection.commits.feed(data) or self.commit == "passed":
            return True
        self._commits += 1
        if self._commits % self.every:
            return True
        self.cuts += 1
        if self.commit == "lost":
            return False
        connection.answers_no_more = True
        return True

    async def _back(self, connection: _Connection, _: bytes) -> bool:
        return not connection.answers_no_more

    @staticmethod
    def _abort(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()


class _Connection:
    """What is known of one connection."""

    def __init__(self) -> None:
        self.commits = Commits()
        self.answers_no_more = False
