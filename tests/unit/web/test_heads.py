"""Where heads end: in `serve`'s own protocol, and in a server whose lifespan alone the guard has seen."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from airflow_incoming.web.guard import Guard
from airflow_incoming.web.heads import MAX_TRAILERS, WholeHead
from airflow_incoming.web.places import GuardLimits
from airflow_incoming.web.protocols import read_whole, reading_whole

PREFIXES = ("/incoming", "/pluginsv2/incoming")
HEAD = b"POST /incoming/%s HTTP/1.1\r\nHost: x\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
NEXT = b"POST /incoming/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Application:
    """Tells which headers and which body it got; remembers the paths. It reads late."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.paths.append(scope["path"])
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        names = [name.decode() for name, _ in scope["headers"]]
        told = json.dumps({"headers": names, "body": body.decode()}).encode()
        length = (b"content-length", b"%d" % len(told))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": told})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture(params=["h11", "httptools", "of serve"])
def port(request: pytest.FixtureRequest, application: Application, serve: Any) -> int:
    """Airflow's kind of server, which the guard finds as it is, with either parser; and that of `serve`."""
    if request.param == "of serve":
        whole = reading_whole(HttpToolsProtocol, ("",))
        return int(serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), whole, ws="none"))
    return int(serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), request.param))


def segments(whole: bytes, places: list[int]) -> list[bytes]:
    cuts = [0, *places, len(whole)]
    return [whole[begin:end] for begin, end in pairwise(cuts)]


def say(wire: Any, parts: list[bytes]) -> Any:
    for part in parts[:-1]:
        wire.send(part)
        time.sleep(0.03)
    return wire.send(parts[-1])


TRAILED = (
    HEAD % b"abc"
    + b"Transfer-Encoding: chunked\r\nX-Last: head\r\n\r\n"
    + b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 203.0.113.7\r\nX-Last: trailer\r\n\r\n"
)
END_OF_HEAD = TRAILED.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize(
    "cuts",
    [[], [END_OF_HEAD], [TRAILED.index(b"Bearer x")], [END_OF_HEAD - 2, TRAILED.index(b"X-Forwarded")]],
    ids=["one segment", "behind the head", "within a trailer", "within both"],
)
def test_trailers_are_no_headers_however_they_come(cuts: list[int], port: int, connect: Any) -> None:
    wire = connect(port)
    for _ in range(2):  # nor are they the next request's
        told = json.loads(say(wire, segments(TRAILED, cuts)).response()[2])
        assert (told["body"], sorted(told["headers"])) == ("{}", ["content-length", "host", "x-last"])


def upgrading(body: bytes, *lines: bytes) -> bytes:
    head = HEAD % b"abc" + H2C + b"".join(line + b"\r\n" for line in lines)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("cut", [None, 20, upgrading(b"").index(b"\r\n\r\n") + 4, -1])
@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0"])
def test_a_request_with_an_upgrade_is_an_ordinary_one(
    upgrade: bytes, cut: int | None, port: int, connect: Any, application: Application
) -> None:
    """Its body belongs to it, also one that looks like a request, in as many segments as it may come."""
    whole = upgrading(NEXT).replace(b"Upgrade: h2c", b"Upgrade: " + upgrade)
    if cut is not None and cut > 20:
        cut = whole.index(b"\r\n\r\n") + 4
    wire = connect(port)
    status, headers, body = say(wire, segments(whole, [] if cut is None else [cut % len(whole)])).response()
    assert (status, json.loads(body)["body"]) == (200, NEXT.decode())
    assert application.paths == ["/incoming/abc"]
    if headers.get("connection") == "close":  # of h11, which shows the header
        assert wire.closed()
    else:
        assert wire.send(NEXT).response()[0] == 200


def test_upgrades_in_a_row_stay_as_many_requests(connect: Any, application: Application, serve: Any) -> None:
    """As many as a segment holds."""
    port = serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), "httptools")
    wire = connect(port).send(upgrading(b"{}") * 300)
    for _ in range(300):
        head, body = b"", b""
        while not head.endswith(b"\r\n\r\n"):
            head += wire.socket.recv(1)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += wire.socket.recv(length - len(body))
        assert json.loads(body)["body"] == "{}"
    assert len(application.paths) == 300


def test_an_upgrade_with_chunks_and_trailers_is_read_whole(port: int, connect: Any) -> None:
    told = json.loads(connect(port).send(TRAILED.replace(b"\r\n", b"\r\n" + H2C, 1)).response()[2])
    assert told["body"] == "{}"
    assert "authorization" not in told["headers"]


def test_an_upgrade_that_closes_closes(port: int, connect: Any, application: Application) -> None:
    wire = connect(port).send(upgrading(b"{}").replace(b": Upgrade,", b": close, Upgrade,"), NEXT)
    assert json.loads(wire.response()[2])["body"] == "{}"
    assert wire.closed()
    assert application.paths == ["/incoming/abc"]


@pytest.mark.parametrize("target", [b"incoming:80", b"/incoming/abc"])
def test_what_comes_behind_a_connect_is_no_request(
    target: bytes, connect: Any, application: Application, serve: Any
) -> None:
    """A parser stops there, too; so the connection ends."""
    guarded = Guard(application, prefixes=("",), limits=GuardLimits())
    wire = connect(serve(guarded, "httptools")).send(b"CONNECT ", target, b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.response()[1]["connection"] == "close"
    assert wire.closed()
    assert "/incoming/smuggled" not in application.paths


@pytest.mark.parametrize(
    "line", [b"GET /incoming/abc", b"GET /incoming/abc HTTP/0.9", b"GET /incoming/abc HTTP/2.0"]
)
def test_other_versions_are_refused(line: bytes, connect: Any, application: Application, serve: Any) -> None:
    """httptools lets them pass."""
    port = serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), "httptools")
    wire = connect(port).send(line, b"\r\nHost: x\r\n\r\n")
    status, headers, _ = wire.response()
    assert (status, headers["connection"], application.paths) == (400, "close", [])
    assert wire.closed()


def test_of_an_upgrade_that_the_server_cannot_read_nothing_is_a_second_request(
    connect: Any, application: Application, serve: Any
) -> None:
    """Where the lifespan never reached the guard: the body is lost, and it is answered 400 and no more."""
    port = serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), "httptools", lifespan="off")
    for cuts in ([], [upgrading(NEXT).index(b"\r\n\r\n") + 4]):
        wire = connect(port)
        status, headers, _ = say(wire, segments(upgrading(NEXT), cuts)).response()
        assert (status, headers["connection"]) == (400, "close")
        assert wire.closed()
    assert application.paths == []


OTHERS = [
    b"/api/v2/dags",
    b"/ui/incomings",
    b"/incomings",
    b"/chat/incoming/ws",
    b"/chat/ws?next=/incoming/abc",
    b"/chat%3F/incoming",
]


@pytest.mark.parametrize("path", OTHERS)
def test_other_paths_are_left_to_the_server(path: bytes, connect: Any, serve: Any) -> None:
    """A guest changes nothing that isn't its own: httptools' trailers stay where they were."""
    port = serve(Guard(Application(), prefixes=PREFIXES, limits=GuardLimits()), "httptools")
    told = json.loads(connect(port).send(TRAILED.replace(b"/incoming/abc", path)).response()[2])
    assert "authorization" in told["headers"]


@pytest.mark.parametrize("path", OTHERS)
def test_websockets_of_others_are_theirs(path: bytes, http: str, connect: Any, serve: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        """Accept each, and leave it at that."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
        else:
            await Application()(scope, receive, send)

    port = serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), http, lifespan="on")
    handshake = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    line = b"GET %s HTTP/1.1\r\nHost: x\r\n" % path
    wire = connect(port).send(line, b"Connection: Upgrade\r\nUpgrade: websocket\r\n", handshake)
    assert wire.response()[0] == 101


@pytest.mark.parametrize("path", [b"/api/v2/version", b"/ui/incomings"])
@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"websocket, h2c"])
@pytest.mark.parametrize("cut", [True, False])
def test_no_body_of_anothers_request_becomes_one_of_ours(
    path: bytes, upgrade: bytes, cut: bool, port: int, connect: Any, application: Application
) -> None:
    """An upgrade that the server wouldn't do is an ordinary request, whosever it is (RFC 9110, 7.8)."""
    whole = upgrading(NEXT).replace(b"/incoming/abc", path).replace(b"Upgrade: h2c", b"Upgrade: " + upgrade)
    told = say(connect(port), segments(whole, [whole.index(b"\r\n\r\n") + 4] if cut else [])).response()[2]
    assert json.loads(told)["body"] == NEXT.decode()
    assert application.paths == [path.decode()]


@pytest.mark.parametrize("path", [b"/incoming/abc", b"/api/v2/version"])
@pytest.mark.parametrize("lines", [b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"])
def test_behind_a_connect_comes_no_request_of_ours(
    path: bytes, lines: bytes, connect: Any, application: Application, serve: Any
) -> None:
    """However it is cut, the connection ends with the one answer, if there is any (RFC 9110, 9.3.6)."""
    port = serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), "httptools")
    head = b"CONNECT %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (path, lines, len(NEXT))
    wire = say(connect(port), [head, NEXT])
    answers = b""
    with suppress(ConnectionResetError):
        while block := wire.socket.recv(65536):
            answers += block
    assert answers.count(b"HTTP/1.1 ") <= 1
    assert "/incoming/smuggled" not in application.paths


@pytest.mark.parametrize("path", [b"/%69ncoming/abc", b"/pluginsv2//incoming/abc", b"http://x/incoming/abc"])
@pytest.mark.parametrize("root", ["", "/x", "/x/y"])
def test_however_our_paths_are_spelled_they_are_ours(root: str, path: bytes) -> None:
    """Also below a root path, which the application says with its lifespan, or uvicorn's settings do."""
    target = path if path.startswith(b"http") else root.encode() + path
    assert is_ours(target, mounted_at=root)
    assert is_ours(path, root_path=root)
    assert not is_ours(b"/z" + target, mounted_at=root)


def is_ours(target: bytes, *, mounted_at: str = "", root_path: str = "") -> bool:
    config = uvicorn.Config(Application(), http="httptools", root_path=root_path, log_config=None)
    kind = reading_whole(HttpToolsProtocol, PREFIXES, mounted_at)
    reader: Any = kind(config, ServerState(), {}, asyncio.new_event_loop())  # type: ignore[call-arg]
    reader.loop.close()
    reader.url = target
    return bool(reader._is_ours())


def test_the_root_path_is_known_with_the_lifespan(connect: Any, serve: Any, application: Application) -> None:
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await guarded({**scope, "root_path": "/x"}, receive, send)

    guarded = Guard(application, prefixes=PREFIXES, limits=GuardLimits())
    port = serve(mounted, "httptools", lifespan="on")
    told = json.loads(connect(port).send(TRAILED.replace(b"/incoming", b"/x/incoming")).response()[2])
    assert "authorization" not in told["headers"]


def endless(block: bytes, wire: Any) -> tuple[int, bytes]:
    """Send trailers until they are refused; return how many bytes were, and what is answered."""
    wire.send(HEAD % b"abc", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", block[:9])
    sent, answer = 0, b""
    with suppress(OSError):
        while sent < 32 * 2**20:
            sent += wire.socket.send(block[9:] + block[:9])
    with suppress(OSError):
        answer = wire.socket.recv(65536)
    return sent, answer


@pytest.mark.parametrize("block", [b"a: 1234\r\n" * 10_000, b"a: " + b"x" * 65536], ids=["many", "one"])
def test_trailers_without_end_are_refused_and_none_is_kept(block: bytes, port: int, connect: Any) -> None:
    tracemalloc.start()
    try:
        sent, _ = endless(block, connect(port))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent < 32 * 2**20
    assert most < 8 * 2**20


def test_a_hundred_trailers_pass_and_no_more(serve: Any, connect: Any, application: Application) -> None:
    port = serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), "httptools")
    wire = connect(port)
    start = HEAD % b"abc" + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    assert wire.send(start, b"a: b\r\n" * MAX_TRAILERS, b"\r\n").response()[0] == 200
    assert wire.send(start, b"a: b\r\n" * (MAX_TRAILERS + 1), b"\r\n").response()[0] == 400
    assert wire.closed()


@pytest.mark.parametrize(
    "rest",
    [
        b"X",
        b"\x00",
        b"POST / HTTP/1.1\r\n: x\r\n\r\n",
        HEAD % b"def" + b"Transfer-Encoding: chunked\r\n\r\nX",
        b"POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}X",
        TRAILED[:-2] + b"a: b\r\n" * (MAX_TRAILERS + 1),
    ],
    ids=[
        "a byte",
        "NUL",
        "a broken head",
        "a broken body",
        "a broken body of another's",
        "too many trailers",
    ],
)
@pytest.mark.parametrize("before", [0, 1])
def test_a_whole_request_is_answered_whatever_comes_behind_it(
    before: int, rest: bytes, serve: Any, connect: Any, application: Application
) -> None:
    """It alone, and the connection ends: who reads a 400 sends again what was accepted (RFC 9112, 9.3.2)."""
    port = serve(Guard(application, prefixes=PREFIXES, limits=GuardLimits()), "httptools")
    whole = HEAD % b"abc" + b"Content-Length: 2\r\n\r\n{}"
    wire = connect(port).send(whole * (1 + before), rest)
    answers = b""
    with suppress(ConnectionResetError):
        while block := wire.socket.recv(65536):
            answers += block
    assert answers.count(b"HTTP/1.1 200 ") == answers.count(b"HTTP/1.1 ") == 1 + before
    assert len(application.paths) == 1 + before


def test_a_class_that_reads_right_stays_as_it_is() -> None:
    whole = reading_whole(HttpToolsProtocol, PREFIXES)
    assert issubclass(whole, WholeHead)
    assert reading_whole(whole, PREFIXES) is whole
    without_websockets = reading_whole(H11Protocol, PREFIXES)
    assert reading_whole(without_websockets, PREFIXES) is without_websockets
    assert reading_whole(asyncio.Protocol, PREFIXES) is asyncio.Protocol


def test_a_server_that_is_not_known_is_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    read_whole(receive, PREFIXES)
    assert "trailers" in caplog.text
    config = uvicorn.Config(Application(), http="httptools", log_config=None)
    config.load()

    class Lifespan:
        def __init__(self) -> None:
            self.config = config

        async def receive(self) -> Any:
            return {"type": "lifespan.startup"}

    caplog.clear()
    read_whole(Lifespan().receive, PREFIXES)
    assert caplog.text == ""
    assert issubclass(config.http_protocol_class, WholeHead)
