"""The blueprint as Airflow serves it: FAB's CSRF protection around, Starlette's bridge in front."""

from __future__ import annotations

import json
import threading
import warnings
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from uuid import UUID

import flask
import httpx
import pytest
from flask_wtf import CSRFProtect
from starlette.applications import Starlette
from starlette.exceptions import StarletteDeprecationWarning
from starlette.middleware import Middleware
from werkzeug.middleware.proxy_fix import ProxyFix

from airflow_incoming.core.errors import EndpointNotFound, Unauthorized
from airflow_incoming.core.messages import Outcome
from airflow_incoming.web.asgi import create_receiver_app
from airflow_incoming.web.blueprint import create_blueprint
from airflow_incoming.web.guard import Guard
from airflow_incoming.web.places import GuardLimits

EVENT_ID = UUID("01920000-0000-7000-8000-000000000001")


def bridge(app: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "starlette.middleware.wsgi is deprecated", category=StarletteDeprecationWarning
        )
        from starlette.middleware.wsgi import WSGIMiddleware
    return WSGIMiddleware(app)


@pytest.fixture
def flask_app(container: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = "test"
    CSRFProtect(app)
    for code in (404, 405, 500):
        app.register_error_handler(code, lambda _, code=code: ("<html>ours</html>", code))
    app.register_blueprint(create_blueprint(lambda: container, accept_timeout=0.5))
    app.add_url_rule("/admin", view_func=lambda: "posted", methods=["POST"], endpoint="admin")
    return app


@pytest.fixture
def application(flask_app: flask.Flask, container: Any) -> Starlette:
    bases = ("/incoming", "/pluginsv2/incoming")
    guard = Middleware(Guard, prefixes=bases, limits=GuardLimits())
    app = Starlette(middleware=[guard])
    app.mount("/incoming", create_receiver_app(lambda: container))
    app.mount("/pluginsv2", bridge(flask_app))
    return app


@pytest.fixture
def port(application: Starlette, serve: Any) -> int:
    return int(serve(application))


@pytest.fixture
def client(port: int) -> Any:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/pluginsv2/incoming", timeout=20) as client:
        yield client


def test_a_chunked_post_arrives_whole(application: Starlette, container: Any, serve: Any, http: str) -> None:
    address = f"http://127.0.0.1:{serve(application, http)}/pluginsv2/incoming/abc?source=shop"
    answer = httpx.post(address, content=iter([b'{"a"', b": 1}"]))
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted", "event_id": str(EVENT_ID)})
    (request,) = container.requests
    assert (request.endpoint_id, request.body, request.query) == ("abc", b'{"a": 1}', "source=shop")
    assert request.remote == "127.0.0.1"


def test_proxyfix_makes_nobody_believed(flask_app: flask.Flask, container: Any, serve: Any) -> None:
    """It is on where [fab] enable_proxy_fix is, and says what any sender has written."""
    fixed = ProxyFix(flask_app.wsgi_app, x_for=1)
    guarded = Guard(bridge(fixed), prefixes=("/incoming",), limits=GuardLimits())
    address = f"http://127.0.0.1:{serve(guarded, lifespan='off', proxy_headers=False)}/incoming/abc"
    assert httpx.post(address, json={}, headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 200
    assert [request.remote for request in container.requests] == ["127.0.0.1"]


def test_repeated_headers_stay_visible_as_such(client: Any, container: Any) -> None:
    client.post("/abc", headers=[("Authorization", "Bearer one"), ("Authorization", "Bearer two")])
    assert container.requests[0].headers["authorization"] == "Bearer one, Bearer two"


def test_both_receivers_see_the_same_request(client: Any, port: int, container: Any) -> None:
    headers = {"Content-Type": "application/json", "X-Word": "a b", "Authorization": "Bearer x"}
    for base in ("incoming", "pluginsv2/incoming"):
        address = f"http://127.0.0.1:{port}/{base}/abc?x=%C3%A9"
        assert httpx.post(address, content=b"{}", headers=headers).status_code == 200
    native, bridged = container.requests
    assert dict(native.headers) == dict(bridged.headers)
    assert replace(native, headers={}) == replace(bridged, headers={})


def test_a_duplicate_is_204_without_a_content_type(client: Any, container: Any) -> None:
    container.decide = lambda _: Outcome(status="duplicate", event_id=EVENT_ID)
    answer = client.post("/abc", content=b"{}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["x-incoming-status"] == "duplicate"
    assert "content-type" not in answer.headers


CASES = [
    ("POST", "/abc", b"{}"),
    ("POST", "", b""),
    ("POST", "/", b""),
    ("POST", "//abc", b""),
    ("POST", "/abc/def", b""),
    ("POST", "/abc/", b""),
    ("GET", "/abc", b""),
    ("PROPFIND", "/abc", b""),
    ("OPTIONS", "/abc", b""),
    ("HEAD", "/abc", b""),
    ("GET", "/health", b""),
    ("HEAD", "/health", b""),
    ("DELETE", "/health", b""),
    ("POST", "/auth/token", b'{"apiKey": "inc_k1_good"}'),
    ("POST", "/uauth/v2/auth/login/profile", b'{"apiKey": "inc_k1_good"}'),
    ("POST", "/auth/token", b'{"apiKey": "wrong"}'),
    ("POST", "/auth/token", b"{"),
    ("POST", "/abc", b"a" * 2_000_000),
]


@pytest.mark.parametrize("refuses", [None, Unauthorized("x"), EndpointNotFound()], ids=repr)
def test_both_receivers_answer_alike(refuses: Exception | None, port: int, container: Any) -> None:
    def decide(_: Any) -> Outcome:
        if refuses is not None:
            raise refuses
        return Outcome(status="accepted", event_id=EVENT_ID)

    container.decide = decide
    for method, path, body in CASES:
        native, bridged = (
            answer_of(method, f"http://127.0.0.1:{port}/{base}{path}", body)
            for base in ("incoming", "pluginsv2/incoming")
        )
        assert native == bridged, (method, path)


@pytest.mark.parametrize("path", ["", "/"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_the_base_itself_is_not_found(method: str, path: str, port: int) -> None:
    """Inside an api-server Airflow's own page would answer there."""
    for base in ("incoming", "pluginsv2/incoming"):
        status, body, headers = answer_of(method, f"http://127.0.0.1:{port}/{base}{path}", b"")
        assert (status, headers["content-type"]) == (404, "application/problem+json")
        assert json.loads(body)["code"] == "not_found"


ODD_HEADERS: list[tuple[list[tuple[str, bytes]], dict[str, str | None]]] = [
    ([("X-A", b"1"), ("X-B", b"2"), ("x-a", b"3")], {"x-a": "1, 3", "x-b": "2"}),
    ([("Cookie", b"a=1"), ("Cookie", b"b=2")], {"cookie": "a=1; b=2"}),
    ([("X_A", b"1")], {"x-a": None, "x_a": None}),
    ([("X_A", b"spoofed"), ("X-A", b"1")], {"x-a": "1", "x_a": None}),
    ([("Transfer_Encoding", b"chunked"), ("Content_Type", b"text/plain")], {"transfer-encoding": None}),
    ([("X-A", b" \t1 2\t ")], {"x-a": "1 2"}),
    ([("X-A", b"  ")], {"x-a": ""}),
    ([("X-A", "Zażółć €".encode())], {"x-a": "Zażółć €"}),
    ([("X-A", b"caf\xe9")], {"x-a": "café"}),
    ([("X-A", b"\xc2\xa01")], {"x-a": "\xa01"}),
]


@pytest.mark.parametrize(("sent", "seen"), ODD_HEADERS)
def test_odd_headers_mean_the_same_at_both_receivers(
    sent: list[tuple[str, bytes]], seen: dict[str, str | None], port: int, connect: Any, container: Any
) -> None:
    """Each name once, white space and underscores nobody's matter, UTF-8 as the text that it is."""
    lines = b"".join(name.encode() + b":" + value + b"\r\n" for name, value in sent)
    for base in (b"incoming", b"pluginsv2/incoming"):
        head = b"POST /" + base + b"/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        assert connect(port).send(head, lines, b"\r\n{}").response()[0] == 200
    native, bridged = container.requests
    assert dict(native.headers) == dict(bridged.headers)
    assert {name: native.headers.get(name) for name in seen} == seen
    assert (native.body, bridged.body) == (b"{}", b"{}")


def answer_of(method: str, address: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    answer = httpx.request(method, address, content=body, timeout=20)
    theirs = ("date", "server", "transfer-encoding")
    return answer.status_code, answer.content, {n: v for n, v in answer.headers.items() if n not in theirs}


def test_senders_need_no_csrf_token_but_everybody_else_does(port: int, client: Any) -> None:
    assert client.post("/abc", content=b"{}").status_code == 200
    assert httpx.post(f"http://127.0.0.1:{port}/pluginsv2/admin").status_code == 400


def test_other_paths_of_the_application_stay_its_own(port: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/pluginsv2/incomings")
    assert (answer.status_code, answer.text) == (404, "<html>ours</html>")


def test_an_undecided_request_gives_its_thread_back_in_time(client: Any, container: Any) -> None:
    container.pending = Future()
    answer = client.post("/abc", content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (503, "undecided")
    assert not container.pending.cancelled()


@pytest.mark.parametrize("path", ["/auth/token", "/health"])
def test_what_blocks_gives_its_thread_back_in_time(path: str, client: Any, container: Any) -> None:
    go_on = threading.Event()
    container.issue = container.report = lambda *_, **__: go_on.wait(10)
    answer = client.get(path) if path == "/health" else client.post(path, json={"apiKey": "inc_a_b"})
    go_on.set()
    assert (answer.status_code, answer.json()["code"]) == (503, "undecided")


def test_a_cancelled_future_means_that_we_stop(client: Any, container: Any) -> None:
    container.pending = Future()
    container.pending.cancel()
    assert client.post("/abc", content=b"{}").json()["code"] == "stopping"


def test_a_bug_is_503_without_a_traceback(client: Any, container: Any) -> None:
    container.decide = lambda _: 1 // 0
    answer = client.post("/abc", content=b"{}")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "ZeroDivision" not in answer.text


def test_a_limit_of_the_application_is_a_problem_too(flask_app: flask.Flask) -> None:
    flask_app.config["MAX_CONTENT_LENGTH"] = 10
    answer = flask_app.test_client().post("/incoming/abc", data=b"a" * 11)
    assert (answer.status_code, answer.get_json()["code"]) == (413, "body_too_large")


def test_the_container_starts_with_the_first_request_and_once(flask_app: flask.Flask, container: Any) -> None:
    assert container.starts == 0
    threads = [
        threading.Thread(target=lambda: flask_app.test_client().post("/incoming/abc")) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (container.starts, len(container.requests)) == (1, 8)


def test_an_application_without_csrf_protection_is_fine(container: Any) -> None:
    app = flask.Flask(__name__)
    app.register_blueprint(create_blueprint(lambda: container), url_prefix="/hooks")
    assert app.test_client().post("/hooks/abc").status_code == 200
    assert app.test_client().post("/incoming/abc").status_code == 404


def test_what_has_no_route_is_remembered(client: Any, container: Any) -> None:
    """A GET on an endpoint is a mistake that an administrator wants to see; so is a path too long."""
    assert client.post("/abc", content=b"{}").status_code == 200
    assert container.refusals == []
    assert client.get("/abc").status_code == 405
    assert client.post("/abc/def", content=b"{}").status_code == 404
    assert container.refusals == [
        ("/abc", "MethodNotAllowed", "127.0.0.1", 0),
        ("/abc/def", "EndpointNotFound", "127.0.0.1", 0),
    ]


def test_a_doubled_slash_is_remembered_without_a_guard(flask_app: flask.Flask, container: Any) -> None:
    client = flask_app.test_client()
    assert client.post("/incoming/abc").status_code == 200
    assert client.post("/incoming//abc").status_code == 404
    assert [path for path, *_ in container.refusals] == ["//abc"]


@pytest.mark.parametrize("base", ["/incoming", "/pluginsv2/incoming"])
@pytest.mark.parametrize(
    "path",
    [
        "/abc%0adef",
        "/abc%0a",
        "%0a",
        "%0aabc",
        "/%0a",
        "/health%0a",
        "/%00",
        "/abc%7f",
        "/abc%0d",
        "//abc",
        "//",
    ],
)
def test_a_path_that_some_read_otherwise_is_nobodys(base: str, path: str, port: int, container: Any) -> None:
    """Routers match with regular expressions, to which a newline is an end."""
    for slashes in ("", "/"):
        answer = httpx.post(httpx.URL(f"http://127.0.0.1:{port}", raw_path=f"{slashes}{base}{path}".encode()))
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert container.requests == []


@pytest.mark.parametrize(
    "base", ["/incoming", "/incoming/abc", "/pluginsv2/incoming", "/pluginsv2/incoming/abc"]
)
def test_a_slash_too_many_in_front_is_nobodys(base: str, port: int, container: Any) -> None:
    answer = httpx.post(httpx.URL(f"http://127.0.0.1:{port}", raw_path=f"/{base}".encode()))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert container.requests == []


@pytest.mark.parametrize(
    "host", [b"a.b", b"a_b:80", "ż.pl".encode(), b"\xff", b"xn--a", b"x:99999", b"[1:2", b"a..b"]
)
def test_hosts_are_one_to_both_receivers(host: bytes, port: int, connect: Any, container: Any) -> None:
    """werkzeug refuses some in HTML."""
    said = []
    for base in (b"/incoming", b"/pluginsv2/incoming"):
        head = b"POST %s/abc HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\n\r\n{}" % (base, host)
        status, headers, body = connect(port).send(head).response()
        said.append((status, headers.get("content-type"), body))
    assert said[0] == said[1]


def test_a_websocket_is_none_to_both_receivers(port: int, connect: Any) -> None:
    for base in (b"/incoming", b"/pluginsv2/incoming"):
        head = (
            b"CONNECT %s/abc HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" % base
        )
        status, headers, _ = connect(port).send(head).response()
        assert (status, headers["content-type"]) == (405, "application/problem+json")
