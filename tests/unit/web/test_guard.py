"""What a stranger can cost: measured on real connections, with both of uvicorn's parsers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from airflow_incoming.web.guard import Guard
from airflow_incoming.web.places import GuardLimits

KIB = 1024
#: All these requests come from one address, which may have everything here.
LIMITS = GuardLimits(
    max_body=64 * KIB, body_timeout=0.3, max_concurrency=4, max_buffered=192 * KIB, max_share=1.0
)
HEAD = b"POST /incoming/abc HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Inner:
    """The application behind the guard: tells what reached it, or waits until a test lets it go."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on: Callable[[], bool] = lambda: True
        self.disconnects = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.calls += 1
        message = await receive()
        headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        while not self.go_on():
            await asyncio.sleep(0.005)
        if scope["path"].endswith("/wait"):
            self.disconnects += (await receive())["type"] == "http.disconnect"
            return
        if scope["path"].endswith("/fail"):
            raise RuntimeError("broken")
        told = {"length": len(message["body"]), "more": message["more_body"], "headers": headers}
        body = json.dumps(told).encode()
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def guard(inner: Inner) -> Guard:
    return Guard(inner, prefixes=("/incoming", "/pluginsv2/incoming"), limits=lambda: LIMITS)


@pytest.fixture
def port(guard: Guard, serve: Any, http: str) -> int:
    return int(serve(guard, http, lifespan="off"))


@pytest.fixture(autouse=True)
def everything_is_given_back(guard: Guard, eventually: Any) -> Any:
    yield
    assert eventually(lambda: (guard.in_flight, guard.buffered) == (0, 0))


def problem_of(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json"
    return status, json.loads(body)["code"]


def test_a_body_arrives_whole_with_its_length(port: int, connect: Any) -> None:
    wire = connect(port)
    for _ in range(2):  # the connection stays usable
        _, _, body = wire.send(HEAD, b"Content-Length: 5\r\n\r\nhello").response()
        told = json.loads(body)
        assert (told["length"], told["more"]) == (5, False)
        assert ["content-length", "5"] in told["headers"]


def test_a_chunked_body_arrives_whole_with_the_length_it_turned_out_to_have(port: int, connect: Any) -> None:
    wire = connect(port).send(CHUNKED, b"3\r\nabc\r\n")
    time.sleep(0.02)
    _, _, body = wire.send(b"4\r\ndefg\r\n0\r\n\r\n").response()
    told = json.loads(body)
    assert told["length"] == 7
    assert ["content-length", "7"] in told["headers"]
    assert "transfer-encoding" not in dict(told["headers"])


def test_trailers_are_no_headers(port: int, connect: Any) -> None:
    wire = connect(port).send(CHUNKED, b"2\r\n{}\r\n")
    time.sleep(0.02)
    _, _, body = wire.send(b"0\r\nAuthorization: Bearer x\r\n\r\n").response()
    assert json.loads(body)["headers"] == [["host", "x"], ["content-length", "2"]]


def test_a_declared_length_over_the_limit_is_refused_before_the_body(
    port: int, connect: Any, inner: Inner
) -> None:
    wire = connect(port).send(HEAD, b"Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n")
    status, headers, body = wire.response()
    assert (status, json.loads(body)["code"]) == (413, "body_too_large")
    assert "65536" in json.loads(body)["detail"]
    assert headers["connection"] == "close"
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.closed()
    assert inner.calls == 0


def test_a_length_of_many_digits_is_over_the_limit(port: int, connect: Any) -> None:
    wire = connect(port).send(HEAD, b"Content-Length: ", b"9" * 18, b"\r\n\r\n")
    assert problem_of(wire.response()) == (413, "body_too_large")


def test_an_endless_chunked_body_is_refused_at_the_limit(
    port: int, connect: Any, guard: Guard, inner: Inner
) -> None:
    wire = connect(port).send(CHUNKED)
    block = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    most, sent, started = 0, 0, time.monotonic()
    wire.socket.settimeout(0.5)
    try:
        while time.monotonic() - started < 5:
            sent += wire.socket.send(block)
            most = max(most, guard.buffered)
    except OSError:  # the server has closed; a slow drain shows as a time-out
        pass
    assert time.monotonic() - started < 4
    assert most <= 64 * KIB + 512 * KIB  # the limit, and one read of the server's
    assert problem_of(wire.response()) == (413, "body_too_large")
    assert inner.calls == 0


def test_a_sender_that_finishes_a_large_body_reads_why_it_was_refused(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        answer = client.post("/incoming/abc", content=b"a" * 3_000_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert client.post("/incoming/abc", content=b"a").status_code == 200


def test_a_body_that_comes_too_slowly_is_timed_out_and_its_place_is_free(
    port: int, connect: Any, guard: Guard, eventually: Any
) -> None:
    wire = connect(port).send(HEAD, b"Content-Length: 100\r\n\r\na")
    assert eventually(lambda: (guard.in_flight, guard.buffered) == (1, 1))
    status, headers, body = wire.response()
    assert (status, json.loads(body)["code"], headers["connection"]) == (408, "body_timeout", "close")
    assert (guard.in_flight, guard.buffered) == (0, 0)


def test_drops_of_a_body_do_not_extend_its_deadline(port: int, connect: Any) -> None:
    wire = connect(port).send(CHUNKED)
    started = time.monotonic()
    for _ in range(12):
        wire.send(b"1\r\na\r\n")
        time.sleep(0.03)
    assert problem_of(wire.response()) == (408, "body_timeout")
    assert time.monotonic() - started < 1


def test_a_client_that_leaves_never_reaches_the_application(
    port: int, connect: Any, inner: Inner, guard: Guard, eventually: Any
) -> None:
    wire = connect(port).send(HEAD, b"Content-Length: 100\r\n\r\nabc")
    assert eventually(lambda: guard.in_flight == 1)
    wire.socket.close()
    assert eventually(lambda: guard.in_flight == 0)
    assert inner.calls == 0


def test_the_application_learns_of_a_later_disconnect(
    port: int, connect: Any, inner: Inner, eventually: Any
) -> None:
    wire = connect(port).send(b"POST /incoming/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na")
    assert eventually(lambda: inner.calls == 1)
    assert inner.disconnects == 0
    wire.socket.close()
    assert eventually(lambda: inner.disconnects == 1)


def test_requests_over_the_cap_are_told_to_come_back_and_the_cap_is_released(
    port: int, connect: Any, inner: Inner, guard: Guard, eventually: Any
) -> None:
    free: list[bool] = []
    inner.go_on = lambda: bool(free)
    busy = [connect(port).send(HEAD, b"Content-Length: 1\r\n\r\na") for _ in range(4)]
    assert eventually(lambda: inner.calls == 4)
    status, headers, body = connect(port).send(HEAD, b"Content-Length: 9\r\n\r\n").response()
    assert (status, json.loads(body)["code"], headers["retry-after"]) == (503, "overloaded", "1")
    assert inner.calls == 4
    free.append(True)
    assert [wire.response()[0] for wire in busy] == [200] * 4
    assert connect(port).send(HEAD, b"Content-Length: 1\r\n\r\na").response()[0] == 200


def test_the_bridge_to_flask_has_a_smaller_cap_of_its_own(
    inner: Inner, serve: Any, connect: Any, eventually: Any
) -> None:
    limits = replace(LIMITS, max_bridge_concurrency=1)
    port = serve(Guard(inner, prefixes=("/incoming", "/pluginsv2/incoming"), limits=limits), lifespan="off")
    free: list[bool] = []
    inner.go_on = lambda: bool(free)
    bridged = b"POST /pluginsv2/incoming/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"
    first = connect(port).send(bridged)
    assert eventually(lambda: inner.calls == 1)
    assert problem_of(connect(port).send(bridged).response()) == (503, "overloaded")
    native = connect(port).send(HEAD, b"Content-Length: 1\r\n\r\na")
    assert eventually(lambda: inner.calls == 2)
    free.append(True)
    assert (first.response()[0], native.response()[0]) == (200, 200)


def test_slow_senders_take_no_place_from_others(
    port: int, connect: Any, guard: Guard, eventually: Any
) -> None:
    """Ten bodies on their way, four places: whoever sends at once is answered at once."""
    slow = [connect(port).send(HEAD, b"Content-Length: 9\r\n\r\na") for _ in range(10)]
    assert eventually(lambda: guard.in_flight == 10)
    started = time.monotonic()
    assert connect(port).send(HEAD, b"Content-Length: 1\r\n\r\na").response()[0] == 200
    assert time.monotonic() - started < 0.2
    assert [problem_of(wire.response()) for wire in slow] == [(408, "body_timeout")] * 10


def test_bodies_on_their_way_are_bounded_in_number(inner: Inner, serve: Any, connect: Any) -> None:
    port = serve(Guard(inner, prefixes=("/incoming",), limits=replace(LIMITS, max_reading=3)), lifespan="off")
    slow = [connect(port).send(HEAD, b"Content-Length: 9\r\n\r\na") for _ in range(4)]
    assert sorted(problem_of(wire.response())[0] for wire in slow) == [408, 408, 408, 503]


def test_bodies_that_come_all_at_once_wait_for_no_place_that_is_taken(
    port: int, connect: Any, inner: Inner, eventually: Any
) -> None:
    """Between the first look and the whole body the places may have gone."""
    free: list[bool] = []
    inner.go_on = lambda: bool(free)
    slow = connect(port).send(HEAD, b"Content-Length: 2\r\n\r\na")
    busy = [connect(port).send(HEAD, b"Content-Length: 1\r\n\r\na") for _ in range(4)]
    assert eventually(lambda: inner.calls == 4)
    assert problem_of(slow.send(b"b").response()) == (503, "overloaded")
    free.append(True)
    assert [wire.response()[0] for wire in busy] == [200] * 4


def test_a_few_large_bodies_leave_room_for_the_usual_ones(
    inner: Inner, serve: Any, connect: Any, eventually: Any
) -> None:
    limits = replace(LIMITS, max_body=1024 * KIB, max_buffered=400 * KIB)
    guard = Guard(inner, prefixes=("/incoming",), limits=limits)
    port = serve(guard, lifespan="off")
    large = [connect(port).send(HEAD, b"Content-Length: 200000\r\n\r\n", b"a" * 150_000) for _ in range(2)]
    assert eventually(lambda: guard.buffered == 300_000)
    more = connect(port).send(HEAD, b"Content-Length: 200000\r\n\r\n", b"a" * 90_000)
    assert problem_of(more.response()) == (503, "overloaded")
    assert connect(port).send(HEAD, b"Content-Length: 60000\r\n\r\n", b"a" * 60_000).response()[0] == 200
    assert [problem_of(wire.response())[0] for wire in large] == [408, 408]


def test_the_cap_is_released_when_the_application_fails(port: int, connect: Any, guard: Guard) -> None:
    for _ in range(6):
        wire = connect(port).send(b"POST /incoming/fail HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na")
        assert wire.response()[0] == 500
    assert guard.in_flight == 0


def test_all_bodies_together_are_bounded(port: int, connect: Any, guard: Guard, eventually: Any) -> None:
    held = [connect(port).send(HEAD, b"Content-Length: 65536\r\n\r\n", b"a" * 65000) for _ in range(2)]
    assert eventually(lambda: guard.buffered == 130000)
    wire = connect(port).send(HEAD, b"Content-Length: 65536\r\n\r\n", b"a" * 65535)
    assert eventually(lambda: guard.buffered == 195535)
    last = connect(port).send(HEAD, b"Content-Length: 65536\r\n\r\n", b"a" * 5000)
    assert problem_of(last.response()) == (503, "overloaded")
    assert guard.buffered <= 192 * KIB
    for other in (*held, wire):
        assert other.response()[0] == 408


@pytest.mark.parametrize("length", [b"-1", b"+1", b"1_0", b"0x1", b"", b"1, 2", b"1;2"])
def test_a_malformed_length_is_a_bad_request(length: bytes, port: int, connect: Any, inner: Inner) -> None:
    assert connect(port).send(HEAD, b"Content-Length: ", length, b"\r\n\r\na").response()[0] == 400
    assert inner.calls == 0


def test_lengths_that_disagree_are_a_bad_request(port: int, connect: Any, inner: Inner) -> None:
    wire = connect(port).send(HEAD, b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")
    assert wire.response()[0] == 400
    assert inner.calls == 0


def test_a_length_beside_an_encoding_is_a_bad_request(inner: Inner, guard: Guard) -> None:
    """Servers refuse or resolve this themselves; the guard doesn't rely on it."""
    headers = [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")]
    assert ask(guard, headers, [b"a"])[0] == 400
    assert inner.calls == 0


@pytest.mark.parametrize("values", [[b"5"], [b"5", b"5"], [b"5, 5"], [b"0005"]])
def test_lengths_that_agree_are_one_length(values: list[bytes], guard: Guard) -> None:
    status, body = ask(guard, [(b"content-length", value) for value in values], [b"he", b"llo"])
    told = json.loads(body)
    lengths = [int(value) for name, value in told["headers"] if name == "content-length"]
    assert (status, told["length"], lengths) == (200, 5, [5])


@pytest.mark.parametrize("body", [[b"hell"], [b"hello!"]])
def test_a_server_that_lets_a_false_length_pass_is_not_believed(
    body: list[bytes], guard: Guard, inner: Inner
) -> None:
    assert ask(guard, [(b"content-length", b"5")], body)[0] == 400
    assert inner.calls == 0


def test_a_client_that_promises_more_than_it_sends_is_timed_out(port: int, connect: Any) -> None:
    wire = connect(port).send(HEAD, b"Content-Length: 6\r\n\r\nhello")
    assert problem_of(wire.response()) == (408, "body_timeout")


def test_100_kb_of_headers_are_refused(port: int, connect: Any, inner: Inner) -> None:
    wire = connect(port).send(HEAD, b"X-Big: ", b"a" * 100_000, b"\r\nContent-Length: 0\r\n\r\n")
    assert problem_of(wire.response()) == (431, "headers_too_large")
    assert inner.calls == 0


def test_a_thousand_headers_are_refused(port: int, connect: Any) -> None:
    many = b"".join(b"X-%d: a\r\n" % i for i in range(1000))
    wire = connect(port).send(HEAD, many, b"Content-Length: 0\r\n\r\n")
    assert problem_of(wire.response()) == (431, "headers_too_large")


def test_other_methods_are_bounded_too(port: int, connect: Any) -> None:
    get = b"GET /incoming/health HTTP/1.1\r\nHost: x\r\n"
    wire = connect(port).send(get, b"\r\n")
    assert json.loads(wire.response()[2])["length"] == 0
    assert problem_of(wire.send(get, b"Content-Length: 65537\r\n\r\n").response()) == (413, "body_too_large")


def test_a_place_on_the_bridge_is_free_with_the_end_of_the_answer(
    inner: Inner, serve: Any, connect: Any
) -> None:
    """A client that sends its next request at once meets no refusal, though the application lingers."""
    lingering = threading.Event()

    async def linger(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)
        while not lingering.is_set():
            await asyncio.sleep(0.005)

    limits = replace(LIMITS, max_bridge_concurrency=1)
    port = serve(Guard(linger, prefixes=("/pluginsv2/incoming",), limits=limits), lifespan="off")
    bridged = b"POST /pluginsv2/incoming/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"
    assert connect(port).send(bridged).response()[0] == 200
    assert connect(port).send(bridged).response()[0] == 200
    lingering.set()


@pytest.mark.parametrize("path", [b"/api/v2/dags", b"/incomings/abc", b"/pluginsv2/incoming2", b"/"])
def test_every_other_path_passes_untouched(path: bytes, port: int, connect: Any) -> None:
    post = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    _, _, body = connect(port).send(post, b"1\r\na\r\n0\r\n\r\n").response()
    assert ["transfer-encoding", "chunked"] in json.loads(body)["headers"]


@pytest.mark.parametrize(
    ("path", "root_path"), [("/airflow/incoming/abc", "/airflow"), ("/incoming/abc", "/airflow")]
)
def test_a_root_path_is_not_part_of_the_prefix(path: str, root_path: str, guard: Guard) -> None:
    status, _ = ask(guard, [(b"content-length", b"99999")], [], path=path, root_path=root_path)
    assert status == 413


def test_the_limits_are_asked_for_at_the_first_request_and_once(inner: Inner) -> None:
    asked: list[int] = []
    guard = Guard(inner, prefixes=("/incoming",), limits=lambda: asked.append(1) or LIMITS)  # type: ignore[func-returns-value]
    assert asked == []
    ask(guard, [], [b""], path="/api")
    assert asked == []
    for _ in range(2):
        assert ask(guard, [], [b""])[0] == 200
    assert asked == [1]


def test_limits_that_cannot_be_read_are_a_fault_of_ours(inner: Inner) -> None:
    guard = Guard(inner, prefixes=("/incoming",), limits=lambda: 1 // 0)  # type: ignore[arg-type]
    assert ask(guard, [], [b""])[0] == 503
    assert guard.in_flight == 0


def test_whoever_wants_to_know_is_told_of_each_refusal(inner: Inner) -> None:
    """With the path, the error, the sender and how much was read; what is passed on is not told."""
    told: list[tuple[str, str, str | None, int]] = []

    def note(path: str, error: Exception, remote: str | None, size: int) -> None:
        told.append((path, type(error).__name__, remote, size))

    guard = Guard(inner, prefixes=("/incoming",), limits=LIMITS, refused=note)
    assert ask(guard, [], [b"{}"], path="/incoming/abc")[0] == 200
    assert ask(guard, [], [b"x" * 40 * KIB] * 2, path="/incoming/abc")[0] == 413
    assert ask(guard, [(b"content-length", b"99999")], [], path="/incoming/abc")[0] == 413
    assert ask(guard, [(b"x", b"y")] * 101, [], path="/incoming/def")[0] == 431
    ask(guard, [], [], path="/incoming/gone")
    assert [(path, error, size) for path, error, _, size in told] == [
        ("/incoming/abc", "BodyTooLarge", 80 * KIB),
        ("/incoming/abc", "BodyTooLarge", 0),
        ("/incoming/def", "HeadersTooLarge", 0),
    ]


def test_time_outs_and_disconnects_work_behind_airflows_kind_of_middleware(
    inner: Inner, serve: Any, connect: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow wraps every plugin's middleware in BaseHTTPMiddleware, which needs an answer always."""

    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    made: list[Guard] = []

    def make(app: Any) -> Guard:
        made.append(Guard(app, prefixes=("/incoming",), limits=LIMITS))
        return made[0]

    app = Starlette(middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch), Middleware(make)])
    app.mount("/incoming", inner)
    port = serve(app)
    assert problem_of(connect(port).send(HEAD, b"Content-Length: 9\r\n\r\na").response()) == (
        408,
        "body_timeout",
    )
    wire = connect(port).send(HEAD, b"Content-Length: 9\r\n\r\na")
    assert eventually(lambda: made[0].in_flight == 1)
    wire.socket.close()
    assert eventually(lambda: made[0].in_flight == 0)
    assert inner.calls == 0
    assert connect(port).send(HEAD, b"Content-Length: 1\r\n\r\na").response()[0] == 200
    assert "Exception" not in caplog.text


def test_being_cancelled_from_outside_is_not_a_time_out(guard: Guard) -> None:
    async def scenario() -> None:
        async def never() -> Any:
            await asyncio.sleep(60)

        task = asyncio.ensure_future(guard(scope_of([]), never, never))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        assert guard.in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert guard.in_flight == 0


def scope_of(
    headers: list[tuple[bytes, bytes]], path: str = "/incoming/abc", root_path: str = ""
) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": path, "root_path": root_path, "headers": headers}


def ask(app: Any, headers: list[tuple[bytes, bytes]], chunks: list[bytes], **where: str) -> tuple[int, bytes]:
    """Call an application as a server would that checks nothing itself."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if messages:
        messages[-1]["more_body"] = False
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope_of(headers, **where), receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
