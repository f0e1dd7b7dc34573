"""Whatever is sent is answered as the OpenAPI document says, and stored whole or not at all."""

from __future__ import annotations

import gzip
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.strangers import BODY_TIMEOUT, NATIVE, RECEIVERS, SERVE, Headers, Siege, parsed
from tests.openapi import check

MIB = 2**20
#: How much memory a server may grow by under an attack: the bodies of one limit each, and noise.
GROWTH = 20 * MIB
#: What uvicorn itself says where it understands nothing.
NO_HTTP = b"Invalid HTTP request received."


@pytest.fixture(params=RECEIVERS.values(), ids=list(RECEIVERS))
def receiver(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def typed(content_type: str, *more: tuple[str, str]) -> Headers:
    return [("Content-Type", content_type), *more]


DEEP = b'{"a":' * 70 + b"1" + b"}" * 70
WIDE = json.dumps({f"k{number}": 1 for number in range(10_001)}).encode()
#: Body, headers, the statuses that may come of it.
NASTY: dict[str, tuple[bytes, Headers, set[int]]] = {
    "nothing": (b"", [], {400}),
    "white space": (b" \n\t\r", [], {400}),
    "cut off": (b'{"a": [1, 2', [], {400}),
    "text after the end": (b'{"a": 1} {"b": 2}', [], {400}),
    "a bare number": (b"1", [], {400}),
    "deep": (DEEP, [], {400}),
    "absurdly deep": (b"[" * 500_000, [], {400}),
    "deep in a string": (json.dumps({"a": "[" * 10_000}).encode(), [], {200}),
    "wide": (WIDE, [], {422}),
    "a long array": (b"[" + b"1," * 20_000 + b"1]", [], {422}),
    "huge": (b'{"a": "' + b"x" * MIB + b'"}', [], {413}),
    "a large conf": (b'{"a": "' + b"x" * 300_000 + b'"}', [], {413}),
    "compressed, and says so": (gzip.compress(b'{"a": 1}'), [("Content-Encoding", "gzip")], {415}),
    "compressed, and doesn't": (gzip.compress(b'{"a": 1}'), [], {400}),
    "a bomb": (gzip.compress(b"[" + b"0," * 10_000_000 + b"0]"), [("Content-Encoding", "gzip")], {415}),
    "several encodings": (b"{}", [("Content-Encoding", "identity"), ("Content-Encoding", "br")], {415}),
    "UTF-16": ('{"a": "é"}'.encode("utf-16"), [], {400}),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), [], {400}),
    "UTF-32": ('{"a": 1}'.encode("utf-32-be"), [], {400}),
    "UTF-8 with a mark": (b'\xef\xbb\xbf{"a": 1}', [], {200}),
    "Latin-1": (b'{"a": "\xe9"}', [], {400}),
    "overlong": (b'{"a": "\xc0\xaf"}', [], {400}),
    "a surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', [], {400}),
    "a surrogate, escaped": (b'{"a": "\\ud800"}', [], {422}),
    "a surrogate in a name": (b'{"\\udfff": 1}', [], {422}),
    "a pair of surrogates": (b'{"a": "\\ud83d\\ude00"}', [], {200}),
    "NUL": (b'{"a": "\x00"}', [], {400}),
    "NUL, escaped": (b'{"a": "\\u0000"}', [], {422}),
    "NUL in a name": (b'{"a\\u0000": 1}', [], {422}),
    "a control character": (b'{"a": "\x01"}', [], {400}),
    "NaN": (b'{"a": NaN}', [], {400}),
    "Infinity": (b'{"a": [-Infinity]}', [], {400}),
    "1e400": (b'{"a": 1e400}', [], {422}),
    "-1e400, deep": (b'[[{"a": [0, -1e400]}]]', [], {422}),
    "1e-400": (b'{"a": 1e-400}', [], {200}),
    "10 000 digits": (b'{"a": ' + b"9" * 10_000 + b"}", [], {422}),
    "10 000 digits behind the point": (b'{"a": 0.' + b"9" * 10_000 + b"}", [], {200}),
    "a number with a zero in front": (b'{"a": 01}', [], {400}),
    "hexadecimal": (b'{"a": 0x1F}', [], {400}),
    "comments": (b'{"a": 1 /* one */}', [], {400}),
    "single quotes": (b"{'a': 1}", [], {400}),
    "a comma too many": (b'{"a": 1,}', [], {400}),
    "a name twice": (b'{"a": 1, "a": 2}', [], {200}),
    "names of Python": (b'{"__proto__": 1, "__class__": {"__init__": []}}', [], {200}),
    "names of ours": (b'{"_incoming.event_id": 1, "_incoming": 2, "airflow/x": 3}', [], {200}),
    "a form": (b"a=1", typed("application/x-www-form-urlencoded"), {415}),
    "XML": (b"<a/>", typed("application/xml"), {415}),
    "JSON as text": (b"{}", typed("text/json"), {415}),
    "another charset": (b"{}", typed("application/json; charset=latin-1"), {200}),
    "two types": (b"{}", typed("application/json", ("Content-Type", "text/plain")), {415}),
    "a broken type": (b"{}", typed("application/json; charset"), {415}),
    "no type": (b"{}", typed(""), {415}),
    "a suffix": (b"{}", typed("application/cloudevents+json; charset=UTF-8"), {200}),
}


def test_every_nasty_body_has_its_status_and_is_stored_whole_or_not_at_all(
    siege: Siege, receiver: int
) -> None:
    """The 4xx of the table, as a problem; never a 5xx. What was answered 200 is stored as it was sent."""
    before = siege.events("open")
    accepted: dict[str, str] = {}
    wrong = {}
    for name, (body, headers, expected) in NASTY.items():
        for content in (
            body,
            iter([body[: len(body) // 2], body[len(body) // 2 :]]),
        ):  # the second is chunked
            answer = siege.send(receiver, "open", content, headers)
            check(answer)
            if answer.status_code not in expected:
                wrong[name] = (answer.status_code, answer.text[:200])
            if answer.status_code == 200:
                accepted[answer.json()["event_id"]] = body.decode()
    assert wrong == {}
    assert siege.events("open") == before | accepted


PIECES = st.sampled_from(
    [
        b"NaN",
        b"1e400",
        b"\\u0000",
        b"\\ud800",
        b"\xff",
        b"\x00",
        b"[" * 70,
        b"9" * 5000,
        b'"',
        b"{",
        b"}",
        b",",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def bodies(draw: Any) -> bytes:
    """Draw bytes, JSON, or JSON that something happened to."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=300))
    text = json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-16", "latin-1"]))
    body = text.encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(PIECES) + body[at + draw(st.integers(0, 3)) :]
    return body


HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Type: application/json",
            b"Content-Type: application/x+json;charset=utf-8",
            b"Content-Type: text/html",
            b"Content-Type: \xc3\xa9",
            b"Content-Encoding: gzip",
            b"Content-Encoding: identity",
            b"Authorization: Bearer \xff",
            b"Cookie: a=\x80\xff",
            b"X-Request-Id: \t'\"<script>\\",
            b"X_Request_Id: " + b"x" * 5000,
            b"X-Forwarded-For: \xff, 127.0.0.1",
            b"Expect: 100-continue",
            b"Connection: close",
            b"Host: [::1",
        ]
    ),
    max_size=3,
)
TARGETS = st.sampled_from([b"", b"?a=%ff", b"?", b"?a=%00&a=%0a", b"?\xc3\xa9=\xff"])


def framed(body: bytes, *, chunked: bool) -> tuple[bytes, bytes]:
    """Return the header that says how long a body is, and the body."""
    if chunked:
        chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        return b"Transfer-Encoding: chunked", chunk + b"0\r\n\r\n"
    return b"Content-Length: %d" % len(body), body


def test_whatever_is_sent_is_answered_as_documented(siege: Siege, receiver: int) -> None:
    """Drawn by hypothesis; afterwards the database holds exactly what was answered 200, as it was sent."""
    before = siege.events("fuzzed")
    accepted: dict[str, str] = {}

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(body=bodies(), headers=HEADERS, chunked=st.booleans(), target=TARGETS)
    def send(body: bytes, headers: list[bytes], chunked: bool, target: bytes) -> None:
        if not any(header.startswith(b"Content-Type") for header in headers):
            headers = [*headers, b"Content-Type: application/json"]
        length, content = framed(body, chunked=chunked)
        head = siege.head(receiver, "fuzzed", *headers, length, target=target)
        answer = parsed(siege.speak(receiver, head, b"\r\n", content))
        assert answer is not None
        if answer.content == NO_HTTP:
            assert answer.status_code == 400
            return
        check(answer)
        if answer.status_code == 200:
            accepted[answer.json()["event_id"]] = body.decode()

    send()
    assert siege.events("fuzzed") == before | accepted
    assert siege.send(receiver, "fuzzed").status_code == 200


#: What is no HTTP, or hardly: lines of a head, and what follows it.
WIRE: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "no length": ((), b"{}"),
    "a negative length": ((b"Content-Length: -1",), b"{}"),
    "a length in words": ((b"Content-Length: two",), b"{}"),
    "a length with a sign": ((b"Content-Length: +2",), b"{}"),
    "a length of 30 digits": ((b"Content-Length: " + b"9" * 30,), b"{}"),
    "two lengths": ((b"Content-Length: 2", b"Content-Length: 3"), b"{} "),
    "one length twice": ((b"Content-Length: 2", b"Content-Length: 2"), b"{}"),
    "a list of lengths": ((b"Content-Length: 2, 2",), b"{}"),
    "more than the length": ((b"Content-Length: 2",), b"{}GET /incoming/x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "less than the length": ((b"Content-Length: 9",), b"{}"),
    "a length and chunks": ((b"Content-Length: 2", b"Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n"),
    "chunks of nonsense": ((b"Transfer-Encoding: chunked",), b"x\r\n{}\r\n0\r\n\r\n"),
    "a chunk of too many digits": ((b"Transfer-Encoding: chunked",), b"f" * 40 + b"\r\n{}\r\n"),
    "a negative chunk": ((b"Transfer-Encoding: chunked",), b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunks that end early": ((b"Transfer-Encoding: chunked",), b"9\r\n{}"),
    "chunks with extensions": (
        (b"Transfer-Encoding: chunked",),
        b"2;a=" + b"b" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
    ),
    "trailers": ((b"Transfer-Encoding: chunked",), b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
    "twice chunked": ((b"Transfer-Encoding: chunked, chunked",), b"2\r\n{}\r\n0\r\n\r\n"),
    "another encoding": ((b"Transfer-Encoding: gzip",), b"{}"),
    "a header without a colon": ((b"nonsense",), b"{}"),
    "a header that goes on": ((b"X-A: b", b" c: d", b"Content-Length: 2"), b"{}"),
    "a space before the colon": ((b"Content-Length : 2",), b"{}"),
    "no name": ((b": x", b"Content-Length: 2"), b"{}"),
    "NUL in a header": ((b"X-A: \x00", b"Content-Length: 2"), b"{}"),
    "bytes in a name": ((b"X-\xff: a", b"Content-Length: 2"), b"{}"),
    "a bare CR": ((b"X-A: b\rX-C: d", b"Content-Length: 2"), b"{}"),
    "an upgrade": ((b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 2"), b"{}"),
    "an upgrade to HTTP/2": (
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: 2"),
        b"{}",
    ),
}


ODD_TARGETS = (
    b"/\xff\xfe",
    b"?a=\xff",
    b"?a=\xc3\xa9",
    b"/%00",
    b"/%ff",
    b"/..%2f..%2f",
    b"/" + b"a" * 60_000,
)


def test_what_is_hardly_http_is_refused_and_nothing_of_it_stored(siege: Siege, receiver: int) -> None:
    """A status below 500 or a closed connection; what was answered 200 is stored, whole, and nothing else."""
    before = siege.events("open")
    spoken = {
        name: siege.head(receiver, "open", b"Content-Type: application/json", *lines) + b"\r\n" + body
        for name, (lines, body) in WIRE.items()
    }
    for target in ODD_TARGETS:
        lines = (b"Content-Type: application/json", b"Content-Length: 2")
        spoken[f"target {target[:12]!r}"] = siege.head(receiver, "open", *lines, target=target) + b"\r\n{}"
    with ThreadPoolExecutor(len(spoken)) as threads:
        answers = dict(
            zip(
                spoken,
                threads.map(lambda said: siege.speak(receiver, said, more=True), spoken.values()),
                strict=True,
            )
        )
    failed = {
        name: answer[:300]
        for name, answer in answers.items()
        if b" 5" in answer[8:12] or b"Traceback" in answer or b"<html" in answer.lower()
    }
    assert failed == {}
    assert sum(bool(answer) for answer in answers.values()) > len(answers) // 2
    stored = sum(answer.count(b"HTTP/1.1 200 ") for answer in answers.values())
    new = [body for event_id, body in siege.events("open").items() if event_id not in before]
    assert set(new) == {"{}"}
    assert len(new) == stored
    assert siege.send(receiver, "open").status_code == 200


def flood(siege: Siege, receiver: int, *lines: bytes, block: bytes, most: int) -> int:
    """Send blocks until the server closes, or ``most`` bytes; return how many were sent."""
    sent = 0
    with siege.wire(receiver) as connection, suppress(OSError):
        connection.sendall(siege.head(receiver, "open", *lines) + b"\r\n")
        while sent < most:
            sent += connection.send(block)
    return sent


def test_endless_bodies_cost_bounded_memory(siege: Siege, receiver: int) -> None:
    """300 MB at a limit of 1 MiB, chunked and with a length that lies: less than 20 MB at any time."""
    server = int(receiver == SERVE)
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    before = most = siege.rss(server)
    with ThreadPoolExecutor(6) as threads:
        floods = [
            threads.submit(flood, siege, receiver, line, block=chunk, most=50 * MIB)
            for line in (
                b"Transfer-Encoding: chunked",
                b"Content-Length: 999999",
                b"Content-Length: 9999999999",
            )
            * 2
        ]
        while not all(each.done() for each in floods):
            most = max(most, siege.rss(server))
            time.sleep(0.05)
    assert all(each.result() > 0 for each in floods)
    assert most - before < GROWTH
    assert siege.send(receiver, "open").status_code == 200


def test_trailers_are_neither_credentials_nor_headers(siege: Siege, receiver: int) -> None:
    """They come behind everything that was checked, in one segment with it or in another."""
    token, body = siege.tokens["shop"].encode(), b"2\r\n{}\r\n"
    trailers = (
        b"0\r\nX-Trailer: seen\r\nAuthorization: Bearer " + token + b"\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n"
    )
    lines = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    for integration, status in (("shop", b"401"), ("open", b"200")):
        for at_once in (True, False):
            before = siege.events(integration)
            head = siege.head(receiver, integration, *lines) + b"\r\n" + body
            with siege.wire(receiver) as connection:
                connection.sendall(head + trailers if at_once else head)
                if not at_once:
                    time.sleep(0.1)  # so that the head has been looked at
                    connection.sendall(trailers)
                assert connection.recv(65536)[9:12] == status
            new = siege.events(integration).keys() - before.keys()
            assert len(new) == (status == b"200")
            for event_id in new:
                kept = siege.house.sql(
                    "select headers, remote from incoming_event where id = :id", id=event_id
                )
                assert "x-trailer" not in str(kept).lower()
                assert kept[0][1] == "127.0.0.1"


def test_endless_trailers_cost_bounded_memory(siege: Siege, receiver: int) -> None:
    """Each server refuses them soon, many or one that is long, and answers others at once."""
    server = int(receiver == SERVE)
    before = most = siege.rss(server)
    start = siege.head(receiver, "open", b"Transfer-Encoding: chunked") + b"\r\n2\r\n{}\r\n0\r\na: b"
    for block in (b"\r\na: b" * 20_000, b"x" * 65536):
        with siege.wire(receiver) as connection, suppress(OSError):
            connection.sendall(start)
            for _ in range(500):
                connection.sendall(block)
                most = max(most, siege.rss(server))
            pytest.fail("it went on reading")
    assert most - before < GROWTH
    began = time.monotonic()
    assert siege.send(receiver, "open").status_code == 200
    assert time.monotonic() - began < 2


def usable(siege: Siege) -> float:
    """Use every receiver, Airflow's health, API and pages; return the slowest of them in seconds."""
    token = {"Authorization": f"Bearer {siege.tokens['airflow']}"}
    slowest = 0.0
    calls = [lambda receiver=receiver: siege.send(receiver, "open") for receiver in RECEIVERS.values()]
    calls += [
        lambda path=path: siege.http.get(f"{siege.house.airflow.url}{path}", headers=token)
        for path in (
            "/api/v2/monitor/health",
            "/api/v2/dags",
            "/incoming/health",
            "/pluginsv2/incoming/health",
        )
    ]
    for call in calls:
        began = time.monotonic()
        answer = call()
        slowest = max(slowest, time.monotonic() - began)
        assert answer.status_code == 200, answer.text
    return slowest


def open_many(siege: Siege, stack: ExitStack, count: int, said: Any) -> list[tuple[socket.socket, int]]:
    wires = []
    for number in range(count):
        receiver = list(RECEIVERS.values())[number % 3]
        wires.append((stack.enter_context(siege.wire(receiver)), receiver))
        if part := said(receiver):
            wires[-1][0].sendall(part)
    return wires


def test_idle_and_slow_connections_leave_everything_usable(siege: Siege) -> None:
    """300 that say nothing, 90 whose head and 90 whose body never end, at all receivers at once."""
    siege.tokens["airflow"] = siege.house.airflow.token()
    usable(siege)
    with ExitStack() as stack:
        open_many(siege, stack, 300, lambda _: b"")
        heads = open_many(siege, stack, 90, lambda receiver: siege.head(receiver, "open")[:-2])
        lines = (b"Content-Type: application/json", b"Content-Length: 9")
        bodies = open_many(siege, stack, 90, lambda receiver: siege.head(receiver, "open", *lines) + b"\r\n{")
        end = time.monotonic() + BODY_TIMEOUT - 1
        slowest = [usable(siege)]
        while time.monotonic() < end:
            for wire, _ in heads:
                with suppress(OSError):
                    wire.sendall(b"\r\nX-A: b")
            slowest.append(usable(siege))
        for wire, _ in bodies:
            assert wire.recv(65536).startswith(b"HTTP/1.1 408 ")
        slowest.append(usable(siege))
    assert max(slowest) < 2
    assert siege.send(NATIVE, "open").status_code == 200
