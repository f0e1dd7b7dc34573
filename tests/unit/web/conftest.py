"""A container in memory, and real servers on loopback ports."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
import uvicorn

from airflow_incoming.core.errors import Unauthorized
from airflow_incoming.core.messages import Outcome, Request

EVENT_ID = UUID("01920000-0000-7000-8000-000000000001")


@dataclass
class Token:
    token: str = "aaa.bbb.ccc"
    expires_in: int = 3600


@dataclass
class Report:
    status: str = "healthy"
    parts: dict[str, dict[str, Any]] = field(default_factory=lambda: {"database": {"status": "up"}})


class MemoryContainer:
    """Accepts everything at once, or does what a test tells it; remembers what it got."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.refusals: list[tuple[str, str, str | None, int]] = []
        self.decide: Callable[[Request], Outcome] = lambda _: Outcome(status="accepted", event_id=EVENT_ID)
        self.pending: Future[Outcome] | None = None
        self.report_now: Callable[[], Report] = Report
        self.starts = self.stops = 0
        self.fail_start: Exception | None = None
        self.receiver = self.token_issuer = self.health = self.tally = self

    def receive(self, request: Request) -> Future[Outcome]:
        self.requests.append(request)
        if self.pending is not None:
            return self.pending
        future: Future[Outcome] = Future()
        try:
            future.set_result(self.decide(request))
        except Exception as error:  # noqa: BLE001  a receiver sets whatever went wrong
            future.set_exception(error)
        return future

    def issue(self, api_key: str, *, remote: str | None) -> Token:
        if api_key != "inc_k1_good":
            raise Unauthorized(f"unknown key from {remote}")
        return Token()

    def refused(self, path: str, error: Exception, *, remote: str | None, size: int) -> None:
        self.refusals.append((path, type(error).__name__, remote, size))

    def report(self) -> Report:
        return self.report_now()

    def start(self) -> None:
        if self.fail_start is not None:
            raise self.fail_start
        self.starts += 1

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def container() -> MemoryContainer:
    return MemoryContainer()


@pytest.fixture(params=["h11", "httptools"])
def http(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Start uvicorn around an application; return its port."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any, http: str = "auto", lifespan: str = "auto", **options: Any) -> int:
        options = {
            "h11_max_incomplete_event_size": 2**18,
            "timeout_graceful_shutdown": 1,
            "timeout_keep_alive": 60,
            "ws": "auto",  # as Airflow has it
        } | options
        config = uvicorn.Config(app, port=0, http=http, lifespan=lifespan, log_level="critical", **options)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        assert wait_until(lambda: server.started)
        return int(listener.getsockname()[1])

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture
def eventually() -> Callable[..., bool]:
    return wait_until


class Wire:
    """One raw connection."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))

    def send(self, *parts: bytes) -> Wire:
        self.socket.sendall(b"".join(parts))
        return self

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response that says Content-Length."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += self._more()
        return int(status.split()[1]), headers, body

    def closed(self) -> bool:
        """Tell whether the server closes the connection (within the socket's timeout)."""
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(1) == b""
        return True

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        assert data, "the server closed the connection before the response was whole"
        return data


@pytest.fixture
def connect() -> Iterator[Callable[[int], Wire]]:
    """Open raw connections; they are closed when the test ends."""
    wires: list[Wire] = []

    def open_one(port: int) -> Wire:
        wires.append(Wire(port))
        return wires[-1]

    yield open_one
    for wire in wires:
        wire.socket.close()
