"""Connections that never become a request."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from airflow_incoming.core.addresses import parse_networks
from airflow_incoming.web import protocol
from airflow_incoming.web.protocol import BoundedHead, Connections
from airflow_incoming.web.protocols import reading_whole
from tests.unit.web.conftest import Wire

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


class BoundedH11(BoundedHead, H11Protocol):  # type: ignore[misc]
    pass


class BoundedHttpTools(BoundedHead, reading_whole(HttpToolsProtocol, ("",))):  # type: ignore[misc]
    pass


async def application(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    count = b"%d" % len(scope["headers"])
    length = (b"content-length", b"%d" % len(count))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": count})


@pytest.fixture(params=[BoundedH11, BoundedHttpTools])
def port(request: pytest.FixtureRequest, serve: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.2)
    return int(serve(application, request.param, lifespan="off"))


def test_a_connection_that_says_nothing_is_closed(port: int, connect: Any) -> None:
    started = time.monotonic()
    assert connect(port).closed()
    assert 0.1 < time.monotonic() - started < 2


@pytest.mark.parametrize("requests_before", [0, 1])
def test_a_head_that_drips_is_closed(requests_before: int, port: int, connect: Any) -> None:
    wire = connect(port)
    for _ in range(requests_before):
        assert wire.send(GET, b"\r\n").response()[0] == 200
    started = time.monotonic()
    wire.send(GET)
    with pytest.raises(OSError):  # noqa: PT011, PT012  reset or broken pipe, whichever drop it is that fails
        while time.monotonic() - started < 3:
            wire.send(b"X-%d: a\r\n" % time.monotonic_ns())
            time.sleep(0.02)
    assert 0.1 < time.monotonic() - started < 2


@pytest.mark.parametrize("requests_before", [0, 1])
def test_a_header_that_never_ends_is_closed(
    requests_before: int, port: int, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 60.0)
    wire = connect(port)
    for _ in range(requests_before):
        assert wire.send(GET, b"\r\n").response()[0] == 200
    wire.send(GET, b"X: ")
    sent = 0
    with pytest.raises(OSError):  # noqa: PT011, PT012  reset or broken pipe, whichever block it is that fails
        while sent < 64 * 2**20:
            sent += wire.socket.send(b"a" * 65536)


def test_idle_between_requests_is_uvicorns_matter(port: int, connect: Any) -> None:
    wire = connect(port)
    for _ in range(3):
        assert wire.send(GET, b"\r\n").response()[0] == 200
        time.sleep(0.3)


def test_the_body_may_take_longer_than_the_head(port: int, connect: Any) -> None:
    wire = connect(port).send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    time.sleep(0.3)
    assert wire.send(b"a" * 300_000).response()[0] == 200


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_trailers_are_no_headers(port: int, connect: Any) -> None:
    wire = connect(port)
    for _ in range(2):
        wire.send(CHUNKED, b"2\r\n{}\r\n")
        time.sleep(0.02)
        assert wire.send(b"0\r\nAuthorization: Bearer x\r\nX-A: b\r\n\r\n").response()[::2] == (200, b"2")
    assert wire.send(GET, b"\r\n").response()[::2] == (200, b"1")


@pytest.mark.parametrize("block", [b"a: b\r\n" * 10_000, b"a" * 65536], ids=["many", "one"])
def test_trailers_that_never_end_are_closed(block: bytes, port: int, connect: Any) -> None:
    wire = connect(port).send(CHUNKED, b"2\r\n{}\r\n0\r\nX: y")
    sent = 0
    with pytest.raises(OSError):  # noqa: PT011, PT012  reset or broken pipe, whichever block it is that fails
        while sent < 64 * 2**20:
            sent += wire.socket.send(block)


def test_a_chunk_that_never_begins_is_closed(port: int, connect: Any) -> None:
    wire = connect(port).send(CHUNKED, b"2;")
    sent = 0
    with pytest.raises(OSError):  # noqa: PT011, PT012  reset or broken pipe, whichever block it is that fails
        while sent < 64 * 2**20:
            sent += wire.socket.send(b"a" * 65536)


def test_the_smallest_chunks_pass(port: int, connect: Any) -> None:
    wire = connect(port).send(CHUNKED)
    for _ in range(100):
        wire.send(b"1\r\n \r\n" * 3000)
    assert wire.send(b"0\r\n\r\n").response()[0] == 200


@pytest.fixture(params=[BoundedH11, BoundedHttpTools])
def crowded(request: pytest.FixtureRequest, serve: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """A server with eight connections, of which those of one proxy are many people's."""
    allowed = Connections(8, share=0.5, trusted=parse_networks("127.0.0.9"))
    monkeypatch.setattr(request.param, "allowed", allowed)
    return int(serve(application, request.param, lifespan="off"))


def test_one_address_leaves_connections_to_others(crowded: int, eventually: Any) -> None:
    """Whether it says anything or not; what it closes is there again."""

    def is_served(wire: Wire) -> bool:
        with suppress(OSError, AssertionError):
            return wire.send(GET, b"\r\n").response()[0] == 200
        return False

    with ExitStack() as stack:

        def open_one(source: str) -> Wire:
            wire = Wire(crowded, source)
            stack.callback(wire.socket.close)
            return wire

        many = [open_one("127.0.0.2") for _ in range(4)]
        assert not is_served(open_one("127.0.0.2"))
        assert all(is_served(each) for each in many)
        assert [is_served(open_one("127.0.0.3")) for _ in range(3)] == [True, True, False]
        assert is_served(open_one("127.0.0.9"))
        assert is_served(open_one("127.0.0.9"))
        assert not is_served(open_one("127.0.0.4"))
        for each in many:
            each.socket.close()
        assert eventually(lambda: is_served(open_one("127.0.0.2")))
