"""The native receiver, through real connections, mounted as Airflow mounts it and alone."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from airflow_incoming.core.errors import (
    DatabaseUnavailable,
    EndpointNotFound,
    InvalidConfiguration,
    Unauthorized,
    Undecided,
)
from airflow_incoming.core.messages import Outcome
from airflow_incoming.web import running
from airflow_incoming.web.asgi import create_receiver_app, wait_for
from airflow_incoming.web.deadline import Deadlines
from airflow_incoming.web.guard import Guard
from airflow_incoming.web.places import GuardLimits

EVENT_ID = UUID("01920000-0000-7000-8000-000000000001")


def mounted(receiver: FastAPI, root_path: str = "") -> FastAPI:
    """Mount as Airflow 3.3 does: below /incoming, entering the lifespan of mounted FastAPIs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        async with receiver.router.lifespan_context(receiver):
            yield

    app = FastAPI(lifespan=lifespan)
    app.root_path = root_path
    app.mount("/incoming", receiver)
    app.add_middleware(Guard, prefixes=("/incoming",), limits=GuardLimits())
    return app


@pytest.fixture
def client(container: Any, serve: Any, http: str) -> Any:
    port = serve(mounted(create_receiver_app(lambda: container)), http)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield client


def test_a_post_is_handed_over_as_it_came(client: Any, container: Any) -> None:
    answer = client.post(
        "/incoming/abc?source=shop&x=%C3%A9",
        content=b'{"a": 1}',
        headers=[
            ("Content-Type", "application/json"),
            ("Authorization", "Bearer one"),
            ("X-Word", "caf\u00e9".encode("latin-1")),  # type: ignore[list-item]
            ("Authorization", "Bearer two"),
        ],
    )
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted", "event_id": str(EVENT_ID)})
    assert answer.headers["x-incoming-status"] == "accepted"
    (request,) = container.requests
    assert (request.endpoint_id, request.body) == ("abc", b'{"a": 1}')
    assert (request.query, request.remote) == ("source=shop&x=%C3%A9", "127.0.0.1")
    assert request.headers["authorization"] == "Bearer one, Bearer two"
    assert request.headers["x-word"] == "caf\u00e9"
    assert request.headers["content-length"] == "8"


def test_a_chunked_post_arrives_whole(client: Any, container: Any) -> None:
    assert client.post("/incoming/abc", content=iter([b'{"a"', b": 1}"])).status_code == 200
    assert container.requests[0].body == b'{"a": 1}'


def test_a_duplicate_is_204_and_the_connection_goes_on(client: Any, container: Any) -> None:
    container.decide = lambda _: Outcome(status="duplicate", event_id=EVENT_ID)
    for _ in range(2):
        answer = client.post("/incoming/abc", content=b"{}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["x-incoming-event-id"] == str(EVENT_ID)


@pytest.mark.parametrize("raised_at_once", [True, False])
def test_a_rejection_is_a_problem_whichever_way_it_comes(
    raised_at_once: bool, client: Any, container: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> Any:
        raise Unauthorized("secret reason")

    if raised_at_once:
        monkeypatch.setattr(container, "receive", refuse)
    container.decide = refuse
    answer = client.post("/incoming/abc", content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "secret" not in answer.text


def test_a_bug_is_503_without_a_traceback(client: Any, container: Any) -> None:
    container.decide = lambda _: 1 // 0
    answer = client.post("/incoming/abc", content=b"{}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "ZeroDivision" not in answer.text


def test_a_cancelled_future_means_that_we_stop(client: Any, container: Any) -> None:
    container.pending = Future()
    container.pending.cancel()
    assert client.post("/incoming/abc", content=b"{}").json()["code"] == "stopping"


def test_an_outcome_that_comes_from_another_thread_is_waited_for(client: Any, container: Any) -> None:
    container.pending = Future()
    outcome = Outcome(status="accepted", event_id=EVENT_ID)
    threading.Timer(0.05, container.pending.set_result, [outcome]).start()
    assert client.post("/incoming/abc", content=b"{}").status_code == 200


def test_unknown_paths_are_the_same_404_as_unknown_endpoints(client: Any, container: Any) -> None:
    def unknown(_: Any) -> Any:
        raise EndpointNotFound()

    container.decide = unknown
    answers = [client.post(f"/incoming{path}") for path in ("/abc", "/abc/def", "/docs/x", "/", "/%2e%2e/x")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len(container.requests) == 1


def test_there_is_no_documentation_to_read(client: Any) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(f"/incoming{path}").status_code == 405


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_only_post_is_allowed(method: str, client: Any, container: Any) -> None:
    for path in ("/abc", "/auth/token"):
        answer = client.request(method, f"/incoming{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.headers["content-type"] == "application/problem+json"
        assert method == "HEAD" or answer.json()["code"] == "method_not_allowed"
    assert container.requests == []


@pytest.mark.parametrize("path", ["/auth/token", "/uauth/v2/auth/login/profile"])
def test_an_api_key_is_exchanged_for_a_token(path: str, client: Any) -> None:
    answer = client.post(f"/incoming{path}", json={"apiKey": "inc_k1_good"})
    assert answer.status_code == 200
    assert answer.json() == {"token": "aaa.bbb.ccc", "token_type": "Bearer", "expires_in": 3600}
    assert answer.headers["cache-control"] == "no-store"


def test_a_wrong_api_key_is_the_same_401_as_a_wrong_token(client: Any, container: Any) -> None:
    def refuse(_: Any) -> Any:
        raise Unauthorized("bad signature")

    container.decide = refuse
    wrong_key = client.post("/incoming/auth/token", json={"apiKey": "no"})
    wrong_token = client.post("/incoming/abc")
    assert (wrong_key.status_code, wrong_key.content) == (401, wrong_token.content)


def test_a_token_request_is_small_json(client: Any) -> None:
    assert client.post("/incoming/auth/token", content=b"apiKey=x").status_code == 400
    assert client.post("/incoming/auth/token", content=b" " * 4097).status_code == 413


@pytest.mark.parametrize(("status", "code"), [("healthy", 200), ("degraded", 200), ("unavailable", 503)])
def test_health_tells_whole_and_parts(status: str, code: int, client: Any, container: Any) -> None:
    report = replace(container.report(), status=status)
    container.report_now = lambda: report
    answer = client.get("/incoming/health")
    assert (answer.status_code, answer.json()) == (code, {"status": status, "database": {"status": "up"}})
    head = client.head("/incoming/health")
    assert (head.status_code, head.content) == (code, b"")
    assert client.post("/incoming/health").headers["allow"] == "GET, HEAD"


def test_health_that_cannot_be_told_is_503(client: Any, container: Any) -> None:
    container.report_now = lambda: 1 // 0
    assert client.get("/incoming/health").status_code == 503


def test_a_root_path_is_not_part_of_the_route(container: Any, serve: Any) -> None:
    port = serve(mounted(create_receiver_app(lambda: container), root_path="/airflow"))
    assert httpx.post(f"http://127.0.0.1:{port}/airflow/incoming/abc").status_code == 200
    assert container.requests[0].endpoint_id == "abc"


def test_the_lifespan_starts_and_stops_the_container(container: Any) -> None:
    app = create_receiver_app(lambda: container)
    assert (container.starts, container.stops) == (0, 0)

    async def live() -> None:
        async with app.router.lifespan_context(app):
            assert (container.starts, container.stops) == (1, 0)

    asyncio.run(live())
    assert (container.starts, container.stops) == (1, 1)
    assert asyncio.run(post(app))[0] == 503


def test_without_a_lifespan_the_first_requests_start_the_container_once(container: Any) -> None:
    app = create_receiver_app(lambda: container)

    async def many() -> list[tuple[int, Any]]:
        return await asyncio.gather(*(post(app) for _ in range(20)))

    assert [status for status, _ in asyncio.run(many())] == [200] * 20
    assert container.starts == 1


def test_a_failed_start_leaves_airflow_alone_and_is_tried_again(
    container: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "RETRY_START_AFTER", 0.0)
    container.fail_start = DatabaseUnavailable()
    app = create_receiver_app(lambda: container)

    async def live() -> None:
        async with app.router.lifespan_context(app):
            assert (await post(app))[0] == 503
            container.fail_start = None
            assert (await post(app))[0] == 200

    asyncio.run(live())


def test_a_failed_start_is_not_tried_for_every_request(container: Any) -> None:
    made: list[int] = []

    def factory() -> Any:
        made.append(1)
        raise DatabaseUnavailable()

    app = create_receiver_app(factory)

    async def many() -> list[tuple[int, Any]]:
        return [await post(app) for _ in range(20)]

    assert {status for status, _ in asyncio.run(many())} == {503}
    assert len(made) == 1


def test_alone_a_failed_start_ends_the_server(container: Any) -> None:
    container.fail_start = InvalidConfiguration(("redis_url",), "is wrong")
    app = create_receiver_app(lambda: container, start_or_fail=True)

    async def live() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError

    with pytest.raises(InvalidConfiguration):
        asyncio.run(live())


def test_an_undecided_request_is_told_so_in_time(container: Any) -> None:
    container.pending = Future()
    app = create_receiver_app(lambda: container, accept_timeout=0.02)
    status, body = asyncio.run(post(app))
    assert (status, body["code"]) == (503, "undecided")
    assert not container.pending.cancelled()


def test_cancelling_a_request_never_cancels_the_event() -> None:
    future: Future[Outcome] = Future()

    async def scenario() -> None:
        task = asyncio.ensure_future(wait_for(future, Deadlines(60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert not future.cancelled()
    future.set_result(Outcome(status="captured"))  # the loop is gone: nobody minds


def test_a_disconnect_while_the_event_is_decided_cancels_nothing(
    container: Any, serve: Any, connect: Any, eventually: Any
) -> None:
    container.pending = Future()
    port = serve(mounted(create_receiver_app(lambda: container)))
    wire = connect(port).send(b"POST /incoming/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    assert eventually(lambda: len(container.requests) == 1)
    wire.socket.close()
    assert not container.pending.cancelled()
    container.pending.set_result(Outcome(status="accepted", event_id=EVENT_ID))
    container.pending = None
    assert httpx.post(f"http://127.0.0.1:{port}/incoming/abc").status_code == 200


def test_an_undecided_error_says_that_it_may_be_stored_all_the_same() -> None:
    async def scenario() -> None:
        with pytest.raises(Undecided):
            await wait_for(Future(), Deadlines(0.01))

    asyncio.run(scenario())


async def post(app: Any) -> tuple[int, Any]:
    """Ask an application that nobody mounted."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/abc", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_what_has_no_route_is_remembered(client: Any, container: Any) -> None:
    """A GET on an endpoint is a mistake that an administrator wants to see; so is a path too long."""
    assert client.post("/incoming/abc", content=b"{}").status_code == 200
    assert container.refusals == []
    assert client.get("/incoming/abc").status_code == 405
    assert client.post("/incoming/abc/def", content=b"{}").status_code == 404
    assert container.refusals == [
        ("/abc", "MethodNotAllowed", "127.0.0.1", 0),
        ("/abc/def", "EndpointNotFound", "127.0.0.1", 0),
    ]
