"""A load client for machines without wrk: one thread, ready-made requests, the same arguments and output.

It costs about a third of a core at 5 000 requests a second, which wrk does at a tenth of that: compare
only what one and the same client has measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._missing = -1  # bytes of the body that are still to come; -1 while in the head
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._missing < 0:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self._status = int(head[9:12])
            self._missing = _length(head)
            self._buffer = rest
        if len(self._buffer) >= self._missing:
            self._buffer, self._missing = b"", -1
            self._load.answered(time.perf_counter() - self._sent, self._status)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lost()

    def _send(self) -> None:
        if time.perf_counter() > self._load.end:
            self._load.left()
            return
        self._sent = time.perf_counter()
        self._transport.write(next(self._load.requests))


class Load:
    """All connections of one load."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._url = urlsplit(arguments.url)
        self._connections = arguments.connections
        self.requests = _requests(arguments)
        self.begin = time.perf_counter()
        self.end = self.begin + float(arguments.duration.rstrip("s"))
        self._times: list[float] = []
        self._refused = self._broken = self._left = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        for _ in range(self._connections):
            await loop.create_connection(lambda: Connection(self), self._url.hostname, self._url.port)
        await asyncio.wait_for(self._done.wait(), self.end - time.perf_counter() + 15)
        self.end = time.perf_counter()

    def answered(self, seconds: float, status: int) -> None:
        self._times.append(seconds)
        self._refused += status >= 400

    def left(self) -> None:
        self._left += 1
        if self._left >= self._connections:
            self._done.set()

    def lost(self) -> None:
        if not self._done.is_set():
            self._broken += 1
            self.left()

    def report(self) -> str:
        times = sorted(self._times) or [0.0]
        found = {name: times[int(len(times) * share)] * 1e3 for name, share in SHARES.items()}
        counts = {"requests": len(self._times), "refused": self._refused, "broken": self._broken}
        return json.dumps({**counts, "seconds": self.end - self.begin, **found})


SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def _requests(arguments: argparse.Namespace) -> Iterator[bytes]:
    head, tail = Path(arguments.head).read_bytes(), Path(arguments.tail).read_bytes()
    count = 0
    while True:
        count += 1
        known = arguments.kind == "known" or (arguments.kind == "half" and count % 2 == 0)
        digits = f"00000000{count % arguments.pool:08x}" if known else f"{arguments.run:08x}{count:08x}"
        yield head + digits.encode() + tail


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", dest="connections", type=int, required=True)
    parser.add_argument("-d", dest="duration", required=True)
    parser.add_argument("--timeout")
    for name in ("url", "head", "tail", "kind"):
        parser.add_argument(name)
    parser.add_argument("run", type=int)
    parser.add_argument("pool", type=int)
    load = Load(parser.parse_args())
    asyncio.run(load.run())
    print(load.report())


if __name__ == "__main__":
    main()
