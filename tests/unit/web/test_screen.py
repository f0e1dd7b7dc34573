"""What a head decides is answered without its body; and one address leaves room for the others."""

from __future__ import annotations

import json
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from airflow_incoming.core.errors import EndpointNotFound
from airflow_incoming.core.integration import parse_configuration
from airflow_incoming.core.messages import Endpoint, Outcome, Request
from airflow_incoming.web.guard import LINGER, Guard
from airflow_incoming.web.places import GuardLimits
from airflow_incoming.web.screen import HEAD, Screen
from tests.unit.web.conftest import Wire

ID = UUID(int=1)
OPEN = Endpoint(
    endpoint_id="open", integration_id=ID, name="n", version_id=ID, configuration=parse_configuration({})
)
LIMITS = GuardLimits(max_body=64 * 1024, body_timeout=5.0, max_reading=8, max_buffered=256 * 1024)


@dataclass
class Decides:
    """A receiver that lets in to ``open``, knows nothing of ``stale``, and refuses the rest.

    What is ``late`` it doesn't know before ``refreshed``; what is ``slow`` is never decided.
    """

    heads: list[Request] = field(default_factory=list)
    refreshed: Future[None] = field(default_factory=Future)

    def screen(self, head: Request) -> Endpoint | Future[Outcome] | None:
        self.heads.append(head)
        if head.endpoint_id == "stale" or (head.endpoint_id == "late" and not self.refreshed.done()):
            return None
        if head.endpoint_id == "open":
            return OPEN
        refusal: Future[Outcome] = Future()
        if head.endpoint_id == "slow":
            return refusal
        refusal.set_exception(EndpointNotFound())
        return refusal

    def refresh(self) -> Future[None] | None:
        return self.refreshed if self.heads[-1].endpoint_id == "late" else None

    def receive(self, request: Request) -> Future[Outcome]:
        raise AssertionError("the guard hands no request in: what is behind it does")


@dataclass
class Behind:
    """Tells what reached it."""

    scopes: list[Any] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body = b"%d" % len((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def decides() -> Decides:
    return Decides()


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def told() -> list[type[Exception]]:
    return []


@pytest.fixture
def guard(behind: Behind, decides: Decides, told: list[type[Exception]]) -> Guard:
    return Guard(
        behind,
        prefixes=("/incoming",),
        limits=LIMITS,
        refused=lambda _path, error, _remote, _size: told.append(type(error)),
        screen=Screen(("/incoming",), lambda: decides),
    )


@pytest.fixture
def port(guard: Guard, serve: Any, http: str) -> int:
    return int(serve(guard, http, lifespan="off"))


def post(path: bytes, *lines: bytes, length: int = 9) -> bytes:
    head = [b"POST /incoming" + path + b" HTTP/1.1", b"Host: x", b"Content-Length: %d" % length, *lines]
    return b"\r\n".join([*head, b"", b""])


def test_a_slow_body_to_nobody_is_answered_and_not_held(
    port: int, connect: Any, guard: Guard, told: list[type[Exception]]
) -> None:
    """It takes no place, and is noted once, by whoever refused it."""
    began = time.monotonic()
    wire = connect(port).send(post(b"/unknown", length=60_000), b"x" * 50_000)
    time.sleep(0.2)
    assert (guard.in_flight, guard.buffered) == (0, 0)
    status, headers, body = wire.response()
    assert (status, json.loads(body)["code"], headers["connection"]) == (404, "not_found", "close")
    assert time.monotonic() - began < LINGER + 1
    assert told == []


def test_a_body_that_comes_behind_its_head_keeps_the_connection(port: int, connect: Any) -> None:
    """Most clients send both in a segment each, and mean to use the connection again."""
    wire = connect(port)
    for _ in range(2):
        wire.send(post(b"/unknown"))
        time.sleep(0.05)
        status, headers, _ = wire.send(b"123456789").response()
        assert (status, headers.get("connection")) == (404, None)
    assert wire.send(post(b"/open"), b"123456789").response()[2] == b"9"


def test_who_asks_whether_to_send_is_told_at_once(port: int, connect: Any) -> None:
    began = time.monotonic()
    wire = connect(port).send(post(b"/unknown", b"Expect: 100-continue"))
    assert wire.response()[0] == 404
    assert time.monotonic() - began < LINGER / 2


def test_what_is_not_known_yet_is_waited_for_before_the_body_is(
    port: int, connect: Any, guard: Guard, decides: Decides, behind: Behind, eventually: Any
) -> None:
    """Nobody is told to go on with what will be refused. It takes a place meanwhile."""
    wire = connect(port).send(post(b"/late", b"Expect: 100-continue"))
    assert eventually(lambda: guard.in_flight == 1)
    decides.refreshed.set_result(None)
    assert wire.socket.recv(12) == b"HTTP/1.1 404"
    assert (guard.in_flight, behind.scopes) == (0, [])


def test_where_nothing_gets_known_in_time_the_body_is_read(port: int, connect: Any) -> None:
    assert connect(port).send(post(b"/late"), b"123456789").response()[2] == b"9"


def test_refusals_on_their_way_take_places_and_end(
    behind: Behind, decides: Decides, serve: Any, connect: Any
) -> None:
    """Eight there are, four for one address; and they end when everybody is told that it takes too long."""
    limits = replace(LIMITS, accept_timeout=0.5)
    screen = Screen(("/incoming",), lambda: decides)
    port = serve(Guard(behind, prefixes=("/incoming",), limits=limits, screen=screen), lifespan="off")
    wires = [connect(port).send(post(b"/slow", length=0)) for _ in range(5)]
    codes = [json.loads(wire.response()[2])["code"] for wire in (wires[4], *wires[:4])]
    assert codes == ["overloaded", *["undecided"] * 4]


@pytest.mark.parametrize("path", [b"/a/b", b"/health"])
def test_where_no_body_matters_none_is_passed_on(
    path: bytes, port: int, connect: Any, behind: Behind, decides: Decides
) -> None:
    """404 and 405 are answered by whoever is behind, as ever, and nobody was asked for more."""
    _, headers, body = connect(port).send(post(path), b"1234").response()
    assert (body, headers["connection"]) == (b"0", "close")
    assert connect(port).send(post(path), b"123456789").response()[1].get("connection") is None
    assert [dict(scope["headers"])[b"content-length"] for scope in behind.scopes] == [b"0", b"0"]
    assert decides.heads == []


def test_the_token_path_takes_little(port: int, connect: Any, guard: Guard) -> None:
    status, _, body = connect(port).send(post(b"/auth/token", length=4097), b"x" * 4097).response()
    assert (status, "4096" in json.loads(body)["detail"]) == (413, True)
    assert connect(port).send(post(b"/auth/token"), b"123456789").response()[2] == b"9"
    assert guard.buffered == 0


def test_what_was_found_out_goes_with_the_request(port: int, connect: Any, behind: Behind) -> None:
    """As it will be stored: a body in chunks has a length by then."""
    connect(port).send(post(b"/open?a=b", b"X-A: b"), b"123456789").response()
    chunked = post(b"/open").replace(b"Content-Length: 9", b"Transfer-Encoding: chunked")
    connect(port).send(chunked, b"1\r\na\r\n0\r\n\r\n").response()
    connect(port).send(post(b"/stale"), b"123456789").response()
    first, second, third = behind.scopes
    head, endpoint = first[HEAD]
    assert endpoint is OPEN
    assert (head.headers["x-a"], head.query) == ("b", "a=b")
    head, _ = second[HEAD]
    assert head.headers["content-length"] == "1"
    assert "transfer-encoding" not in head.headers
    assert HEAD not in third


def begin(port: int, source: str, *said: bytes) -> Wire:
    wire = Wire(port, source)
    return wire.send(*said)


def test_one_address_leaves_places_to_others(port: int, eventually: Any, guard: Guard) -> None:
    """Eight may send at a time: of one address four, then of another two."""
    slow = [begin(port, "127.0.0.2", post(b"/open"), b"1") for _ in range(5)]
    assert slow[4].response()[0] == 503
    slow += [begin(port, "127.0.0.3", post(b"/open"), b"1") for _ in range(3)]
    assert slow[7].response()[0] == 503
    assert guard.in_flight == 6
    with closing(begin(port, "127.0.0.1", post(b"/open"), b"123456789").socket) as wire:
        assert wire.recv(12) == b"HTTP/1.1 200"
    for each in slow:
        each.socket.close()
    assert eventually(lambda: guard.in_flight == 0)


def test_one_address_leaves_memory_to_others(port: int, eventually: Any, guard: Guard) -> None:
    """Of 256 KiB one has half, a large body aside; the next one half of the rest."""
    large = [begin(port, "127.0.0.2", post(b"/open", length=60_000), b"x" * 50_000) for _ in range(3)]
    assert large[2].response()[0] == 503
    assert eventually(lambda: guard.buffered == 100_000)
    with closing(begin(port, "127.0.0.3", post(b"/open", length=60_000), b"x" * 60_000).socket) as wire:
        assert wire.recv(12) == b"HTTP/1.1 200"
    for each in large:
        each.socket.close()
    assert eventually(lambda: guard.buffered == 0)


def test_a_lonely_sender_may_send_what_may_be_sent(serve: Any, behind: Behind) -> None:
    """However small its share: one body fits, and one request is answered."""
    limits = replace(LIMITS, max_share=0.01, max_reading=1, max_concurrency=1, max_buffered=96 * 1024)
    port = serve(Guard(behind, prefixes=("/incoming",), limits=limits), lifespan="off")
    with closing(begin(port, "127.0.0.2", post(b"/open", length=65_000), b"x" * 65_000).socket) as wire:
        assert wire.recv(12) == b"HTTP/1.1 200"
