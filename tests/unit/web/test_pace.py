"""A long answer waits for its reader, and not for ever: through Starlette's bridge, over real connections."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.web import pace
from airflow_incoming.web.guard import Guard
from airflow_incoming.web.pace import BLOCK, at_readers_pace
from airflow_incoming.web.places import GuardLimits

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.middleware.wsgi import WSGIMiddleware

PIECES = 400
PIECE = "x" * BLOCK
ASK = b"GET /pluginsv2/incoming-ui/x HTTP/1.1\r\nHost: x\r\n\r\n"


class Pages:
    """A WSGI application with one long answer; tells how far it got, and how it ended."""

    def __init__(self) -> None:
        self.given = 0
        self.ended: list[BaseException | None] = []

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self._answer()

    def _answer(self) -> Iterator[bytes]:
        try:
            yield from at_readers_pace(self._pieces())
        except BaseException as error:
            self.ended.append(error)
            raise
        self.ended.append(None)

    def _pieces(self) -> Iterator[str]:
        for _ in range(PIECES):
            self.given += len(PIECE)
            yield PIECE


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def port(pages: Pages, serve: Any, http: str) -> int:
    """As in an api-server: middlewares of Airflow's around the guard, also one that replaces bodies."""
    app = Starlette()
    app.mount("/pluginsv2", WSGIMiddleware(pages))
    prefixes = ("/pluginsv2/incoming-ui",)
    app.add_middleware(Guard, prefixes=prefixes, receivers=(), limits=GuardLimits())  # type: ignore[arg-type]

    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app.add_middleware(GZipMiddleware)
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    return int(serve(app, http))


def test_a_reader_gets_everything(port: int, pages: Pages) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/pluginsv2/incoming-ui/x", timeout=60)
    assert len(answer.content) == pages.given == PIECES * BLOCK
    assert pages.ended == [None]


def test_a_reader_that_stalls_holds_little_and_is_given_up(
    port: int, pages: Pages, connect: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system's own buffers hold aside; the answer says that it isn't whole."""
    monkeypatch.setattr(pace, "PATIENCE", 1.0)
    wire = connect(port).send(ASK)
    assert eventually(lambda: pages.given > BLOCK)
    time.sleep(0.5)
    stalled = pages.given
    time.sleep(0.2)
    assert pages.given == stalled < PIECES * BLOCK / 2
    assert eventually(lambda: pages.ended)
    read = b""
    while not read.endswith(b"0\r\n\r\n"):
        read += wire.socket.recv(2**20)
    assert b"[This export was cut off here: its reader is too slow]\n" in read[-100:]
    assert connect(port).send(ASK).socket.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("last", [b"GET", b"HTTP/1.1 200"])
def test_nothing_is_made_for_a_reader_that_has_left(
    last: bytes, port: int, pages: Pages, connect: Any, eventually: Any
) -> None:
    """Servers throw away without a word what they are given then."""
    wire = connect(port).send(ASK)
    if last != b"GET":
        assert wire.socket.recv(len(last)) == last
        assert eventually(lambda: pages.given > BLOCK)
        time.sleep(0.2)
    wire.socket.close()
    assert eventually(lambda: pages.ended, seconds=pace.PATIENCE / 3)
    assert pages.given < PIECES * BLOCK / 2


def test_a_reader_that_takes_a_little_now_and_then_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block comes in time, and all of them never would."""
    monkeypatch.setattr(pace, "PATIENCE", 0.6)
    monkeypatch.setattr(pace, "SLOWEST", BLOCK / 0.1, raising=False)
    reader = pace.Pace()
    token = pace._pace.set(reader)
    taken = 0
    try:
        for block in at_readers_pace([PIECE] * PIECES):
            threading.Timer(0.2, reader.taken, [len(block)]).start()
            taken += 1
    finally:
        pace._pace.reset(token)
    assert 1 < taken < 10


def test_what_breaks_an_export_is_told_in_it() -> None:
    """Unless it is told instead of it."""

    def broken(pieces: int) -> Iterator[str]:
        yield from [PIECE] * pieces
        raise DatabaseUnavailable

    *blocks, last = at_readers_pace(broken(2))
    assert blocks == [PIECE.encode()] * 2
    assert last.startswith(b"\n[This export was cut off here: ")
    with pytest.raises(DatabaseUnavailable):
        list(at_readers_pace(broken(0)))


def test_without_a_server_nobody_waits() -> None:
    assert b"".join(at_readers_pace(["a", "é"])) == "aé".encode()
