"""The bytes of one request never become another's (RFC 9112, 11.2), however they are framed and cut."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import httpx
import pytest

from tests.e2e.raw import Spoken, speak
from tests.e2e.strangers import FLASK, LATER, NATIVE, RECEIVERS, SERVE, Siege
from tests.e2e.varied import BASE, CHUNKED, H2C, OPEN, chunks, framed, request

END = b"0\r\n\r\n"
MIB = 2**20


def inside(hidden: bytes) -> dict[str, tuple[bytes, int]]:
    """Return requests whose body looks like another one: read whole, and answered once."""
    return {
        "upgrade": (request(*H2C, body=hidden), 400),
        "upgrade, chunked": (framed(*H2C, CHUNKED, body=chunks(hidden)), 400),
        "upgrade in JSON": (request(*H2C, body=b'["' + b" " * 999 + b'"]'), 200),
        "upgrade to websocket": (request(b"Connection: upgrade", b"Upgrade: websocket", body=hidden), 400),
        "upgrade to several": (request(b"Connection: upgrade", b"Upgrade: h2c, TLS/1.3", body=hidden), 400),
        "upgrade twice": (request(*H2C, b"Upgrade: h2c", body=hidden), 400),
        "upgrade in HTTP/1.0": (request(*H2C, body=hidden, version=b"HTTP/1.0"), 400),
        "upgrade at GET": (request(*H2C, body=hidden, method=b"GET"), 405),
        "length at GET": (request(body=hidden, method=b"GET"), 405),
        "chunks at GET": (framed(CHUNKED, body=chunks(hidden), method=b"GET"), 405),
        "chunks at DELETE": (framed(CHUNKED, body=chunks(hidden), method=b"DELETE"), 405),
        "length, not JSON": (request(body=hidden), 400),
        "length at nobody's": (request(body=hidden, target=b"<BASE>/x"), 404),
        "length at the base": (request(body=hidden, target=b"<BASE>"), 404),
        "trailers": (framed(CHUNKED, body=chunks(b"{}", *H2C, b"Host: other", b"X-A: b")), 200),
    }


def behind(hidden: bytes) -> dict[str, bytes]:
    """Return heads that can be read in two ways, and what else ends a connection: the rest is nobody's."""
    return {
        "length and chunked": framed(
            b"Content-Length: %d" % (len(END) + len(hidden)), CHUNKED, body=END + hidden
        ),
        "chunked and length": framed(
            CHUNKED, b"Content-Length: 4", body=b"%x\r\n%s\r\n" % (len(hidden), hidden) + END
        ),
        "two lengths": framed(
            b"Content-Length: 2", b"Content-Length: %d" % (2 + len(hidden)), body=b"{}" + hidden
        ),
        "a list of lengths": framed(b"Content-Length: 2, %d" % (2 + len(hidden)), body=b"{}" + hidden),
        "a length with a sign": framed(b"Content-Length: +2", body=b"{}" + hidden),
        "a length with a space": framed(b"Content-Length: 2 9", body=b"{}" + hidden),
        "a length before a space": framed(b"Content-Length : 2", body=b"{}" + hidden),
        "a length that goes on": framed(b"Content-Length:\r\n 2", body=b"{}" + hidden),
        "gzip, chunked": framed(b"Transfer-Encoding: gzip, chunked", body=END + hidden),
        "gzip and chunked": framed(b"Transfer-Encoding: gzip", CHUNKED, body=END + hidden),
        "chunked, chunked": framed(b"Transfer-Encoding: chunked, chunked", body=END + hidden),
        "chunked, gzip": framed(b"Transfer-Encoding: chunked, gzip", body=END + hidden),
        "identity": framed(b"Transfer-Encoding: identity", b"Content-Length: 2", body=b"{}" + hidden),
        "xchunked": framed(b"Transfer-Encoding: xchunked", body=END + hidden),
        "chunked with VT": framed(b"Transfer-Encoding: \x0bchunked", body=END + hidden),
        "chunked before a space": framed(b"Transfer-Encoding : chunked", body=END + hidden),
        "chunked that goes on": framed(b"Transfer-Encoding:\r\n chunked", body=END + hidden),
        "chunked behind LF": framed(b"X-A: b\nTransfer-Encoding: chunked", body=END + hidden),
        "chunked behind CR": framed(b"X-A: b\rTransfer-Encoding: chunked", body=END + hidden),
        "chunked behind NUL": framed(b"X-A: \x00", CHUNKED, body=END + hidden),
        "chunked in HTTP/1.0": framed(CHUNKED, body=END + hidden, version=b"HTTP/1.0"),
        "chunked in HTTP/2.0": framed(CHUNKED, body=END + hidden, version=b"HTTP/2.0"),
        "HTTP/0.9": b"GET <OPEN>\r\n\r\n" + hidden,
        "HTTP/0.9, said so": request(version=b"HTTP/0.9") + hidden,
        "a chunk with LF": framed(CHUNKED, body=b"2\n{}\n0\n\n" + hidden),
        "a chunk longer than said": framed(CHUNKED, body=b"2\r\n{}\r\nX" + END + hidden),
        "a chunk below zero": framed(CHUNKED, body=b"-2\r\n{}\r\n" + END + hidden),
        "LF in an extension": framed(CHUNKED, body=b"2;a\nb\r\n{}\r\n" + END + hidden),
        "LF for all": request().replace(b"\r\n", b"\n") + hidden,
        "LF at the end": request().replace(b"\r\n\r\n", b"\r\n\n") + hidden,
        "no host": request(host=None) + hidden,
        "two hosts": request(b"Host: other") + hidden,
        "CONNECT": request(method=b"CONNECT", target=b"receiver:80") + hidden,
        "CONNECT to an endpoint": request(method=b"CONNECT") + hidden,
        "CONNECT to a websocket": request(
            b"Connection: Upgrade", b"Upgrade: websocket", method=b"CONNECT", body=b""
        )
        + hidden,
        "CONNECT with a length": request(
            b"Connection: Upgrade", b"Upgrade: websocket", method=b"CONNECT", body=hidden
        ),
        "closing": request(b"Connection: close") + hidden,
        "closing in HTTP/1.0": request(version=b"HTTP/1.0") + hidden,
        "an upgrade that closes": request(*H2C, b"Connection: close") + hidden,
        "too large by length": framed(b"Content-Length: %d" % (2 * MIB), body=hidden),
        "trailers that say a length": framed(CHUNKED, body=chunks(b"{}", b"Content-Length: 200")) + hidden,
        "too large a head": request(b"X-A: " + b"x" * 20_000) + hidden,
    }


@pytest.fixture(scope="module")
def hidden(siege: Siege) -> str:
    """An integration that nobody ever means to send to."""
    siege.apply({"name": "hidden"})
    time.sleep(LATER.total_seconds())
    return "hidden"


@pytest.fixture(params=RECEIVERS.values(), ids=list(RECEIVERS))
def receiver(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def cuts(whole: bytes) -> Iterator[list[int]]:
    """Yield where further segments begin: nowhere, in the head, at its end, around that and in the rest."""
    behind = max(whole.find(b"\r\n\r\n"), whole.find(b"\n\n")) + 4
    yield []
    yield [behind // 2]
    yield [behind]
    yield [behind - 2, behind + 2, (behind + len(whole)) // 2]


def path_of(siege: Siege, receiver: int, integration: str) -> bytes:
    return httpx.URL(siege.house.url(integration, receiver)).raw_path


def say(siege: Siege, receiver: int, requests: Mapping[str, bytes]) -> dict[str, Spoken]:
    """Send each to the open integration, cut in all ways, at once; return what is answered."""
    base = siege.house.receive[receiver]
    meanings = {BASE: httpx.URL(base).raw_path, OPEN: path_of(siege, receiver, "open")}
    spoken = {}
    with ThreadPoolExecutor(12) as threads:
        for name, whole in requests.items():
            for placeholder, meaning in meanings.items():
                whole = whole.replace(placeholder, meaning)
            for places in cuts(whole):
                segments = [whole[begin:end] for begin, end in pairwise([0, *places, len(whole)])]
                spoken[f"{name}, cut at {places}"] = threads.submit(speak, base, segments)
        return {name: future.result() for name, future in spoken.items()}


def test_a_body_that_looks_like_a_request_is_a_body(siege: Siege, hidden: str, receiver: int) -> None:
    """Also where an Upgrade makes the parser below stop in front of it (RFC 9110, 7.8)."""
    requests = inside(request(target=path_of(siege, receiver, hidden)))
    spoken = say(siege, receiver, {name: whole for name, (whole, _) in requests.items()})
    expected = {name: [requests[name.rpartition(", cut")[0]][1]] for name in spoken}
    assert {name: [each.status for each in one.answers] for name, one in spoken.items()} == expected
    assert siege.events(hidden) == {}


def test_what_can_be_read_in_two_ways_is_read_in_none(siege: Siege, hidden: str, receiver: int) -> None:
    """One answer, and the connection ends; whatever came behind it is nobody's request."""
    spoken = say(siege, receiver, behind(request(target=path_of(siege, receiver, hidden))))
    wrong = {name: one for name, one in spoken.items() if one.kept or len(one.answers) != 1}
    assert wrong == {}
    accepted = {name.rpartition(", cut")[0] for name, one in spoken.items() if one.answers[0].status == 200}
    assert accepted == {"closing", "closing in HTTP/1.0", "an upgrade that closes"}
    assert siege.events(hidden) == {}


@pytest.mark.parametrize("receiver", [NATIVE, FLASK], ids=["native", "flask"])
def test_no_body_of_airflows_requests_is_one_of_ours(siege: Siege, hidden: str, receiver: int) -> None:
    """Of those that ask its server for an upgrade that it wouldn't do; a CONNECT ends the connection."""
    body = request(target=path_of(siege, receiver, hidden))
    version = b"/api/v2/version"
    websocket = (b"Connection: Upgrade", b"Upgrade: websocket")
    requests = {
        "upgrade": request(*H2C, method=b"GET", target=version, body=body),
        "upgrade, chunked": framed(*H2C, CHUNKED, method=b"GET", target=version, body=chunks(body)),
        "upgrade to TLS": request(b"Connection: upgrade", b"Upgrade: TLS/1.3", target=version, body=body),
        "CONNECT": request(method=b"CONNECT", target=version, body=body),
        "CONNECT to a websocket": request(*websocket, method=b"CONNECT", target=version, body=body),
    }
    spoken = say(siege, receiver, requests)
    assert {name: len(one.answers) for name, one in spoken.items()} == dict.fromkeys(spoken, 1)
    read = [name for name in spoken if name.startswith(("upgrade,", "upgrade, chunked,"))]
    assert {spoken[name].answers[0].status for name in read} == {200}
    assert siege.events(hidden) == {}


def test_requests_in_a_row_are_as_many_answers(siege: Siege, receiver: int) -> None:
    """What is well framed is followed by the next, also where it was refused, however both are cut."""
    refused = [
        request(method=b"PUT"),
        request(body=b"{"),
        request(media_type=None),
        request(target=BASE + b"/x"),
    ]
    row = b"".join(
        [*refused, request(*H2C), framed(CHUNKED, body=chunks()), framed(CHUNKED, body=END), request()]
    )
    spoken = say(siege, receiver, {"a row": row})
    statuses = {name: [each.status for each in one.answers] for name, one in spoken.items()}
    assert set(map(tuple, statuses.values())) == {(405, 400, 415, 404, 200, 200, 400, 200)}


def test_endless_trailers_behind_an_upgrade_are_bounded(siege: Siege) -> None:
    """The bounds of `serve` hold for the head that is read again, too."""
    head = framed(*H2C, CHUNKED, body=b"2\r\n{}\r\n0\r\n").replace(OPEN, path_of(siege, SERVE, "open"))
    sent = 0
    with siege.wire(SERVE) as wire, suppress(OSError):
        wire.sendall(head)
        while sent < 64 * MIB:
            sent += wire.send(b"a: b\r\n" * 10_000)
    assert sent < 64 * MIB
