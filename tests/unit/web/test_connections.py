"""Connections that say nothing, in a server that isn't ours and may have few files open."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_incoming.core.addresses import parse_networks
from airflow_incoming.services.journal import Seldom
from airflow_incoming.web import connections
from airflow_incoming.web.guard import Guard
from airflow_incoming.web.places import GuardLimits
from tests.unit.web.conftest import Wire

#: Half are kept for other things; of the rest half, 72, may wait for a head, and as many for a body.
FILES = 288
HEAD = b"POST /incoming/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
OTHERS = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def few_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture(params=["h11", "httptools"])
def port(few_files: None, request: pytest.FixtureRequest, serve: Any) -> int:
    limits = GuardLimits(trusted_proxies=parse_networks("127.0.0.9"))
    return int(serve(Guard(application, prefixes=("/incoming",), limits=limits), request.param))


@pytest.fixture
def come() -> Iterator[Any]:
    """Open connections from an address, each with the same beginning."""
    wires: list[Wire] = []

    def open_many(count: int, port: int, source: str, *said: bytes) -> list[Wire]:
        came = [Wire(port, source).send(*said) for _ in range(count)]
        wires.extend(came)
        return came

    yield open_many
    for wire in wires:
        wire.socket.close()


def closed(wires: list[Wire], seconds: float = 1.0) -> int:
    """Return how many of them the server has closed."""
    ended = 0
    for wire in wires:
        wire.socket.settimeout(seconds / len(wires))
        try:
            ended += wire.closed()
        except TimeoutError:
            continue
    return ended


@pytest.mark.parametrize("said", [b"", HEAD[:20]])
def test_one_address_has_a_share_of_silent_connections(said: bytes, port: int, come: Any) -> None:
    """Of 72 a half; of the rest another one a half. What is given up is there again."""
    first = come(40, port, "127.0.0.2", said)
    assert closed(first) == 4
    second = come(20, port, "127.0.0.3", said)
    assert closed(second) == 2
    for wire in first:
        wire.socket.close()
    assert closed(come(28, port, "127.0.0.4", said)) == 1


def test_whoever_has_spoken_is_let_be(port: int, come: Any) -> None:
    """Browsers and proxies keep connections; a burst comes with what it says, and a proxy brings all."""
    spoke = come(38, port, "127.0.0.2", OTHERS)
    assert [wire.response()[0] for wire in spoke] == [200] * 38
    silent = come(36, port, "127.0.0.2")
    burst = come(10, port, "127.0.0.2", OTHERS)
    assert [wire.response()[0] for wire in burst] == [200] * 10
    assert closed(silent + spoke + burst) == 0
    assert closed(come(20, port, "127.0.0.9")) == 0


def test_a_websocket_is_no_silent_connection(port: int, come: Any) -> None:
    handshake = (
        b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for wire in come(20, port, "127.0.0.2", handshake):
        assert wire.socket.recv(12) == b"HTTP/1.1 101"
    assert closed(come(36, port, "127.0.0.2")) == 0


def test_bodies_on_their_way_leave_files_to_others(port: int, come: Any) -> None:
    slow = come(37, port, "127.0.0.2", HEAD)
    assert slow[36].response()[0] == 503
    assert come(1, port, "127.0.0.3", HEAD, b"1")[0].response()[0] == 200


def test_few_files_are_told_of(few_files: None, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    serve(Guard(application, prefixes=("/incoming",), limits=GuardLimits()))
    assert "may have 288 files open" in caplog.text
    assert "LimitNOFILE" in caplog.text


def test_what_is_no_http_fills_no_log(
    http: str, serve: Any, connect: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_seldom", Seldom())
    port = serve(Guard(application, prefixes=("/incoming",), limits=GuardLimits()), http)
    errors = logging.getLogger("uvicorn.error")
    level = errors.level
    errors.setLevel(logging.WARNING)
    errors.addHandler(caplog.handler)
    try:
        for _ in range(30):
            assert connect(port).send(b"\0\0\0\r\n\r\n").socket.recv(1) == b"H"
    finally:
        errors.setLevel(level)
        errors.removeHandler(caplog.handler)
    assert 0 < len(caplog.records) < 20
