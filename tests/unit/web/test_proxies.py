"""Whom the receivers see behind proxies: the same sender, natively and through Flask."""

from __future__ import annotations

import asyncio
from typing import Any

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware

from airflow_incoming.core.addresses import parse_networks
from airflow_incoming.web.asgi import create_receiver_app
from airflow_incoming.web.blueprint import create_blueprint
from airflow_incoming.web.guard import Guard
from airflow_incoming.web.places import GuardLimits
from airflow_incoming.web.proxies import with_client
from tests.unit.web.test_blueprint import bridge

LOOPBACK = GuardLimits(trusted_proxies=parse_networks("127.0.0.0/8"))
FORWARDED = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}


def application(container: Any, limits: GuardLimits, told: list[Any]) -> Starlette:
    flask_app = flask.Flask("airflow")
    flask_app.register_blueprint(create_blueprint(lambda: container))
    guard = Middleware(
        Guard,  # type: ignore[arg-type]
        prefixes=("/incoming", "/pluginsv2/incoming"),
        limits=limits,
        refused=lambda *refused: told.append(refused),
    )
    app = Starlette(middleware=[guard])
    app.mount("/pluginsv2", bridge(flask_app))
    app.mount("/incoming", create_receiver_app(lambda: container))
    return app


@pytest.mark.parametrize("path", ["/incoming/abc", "/pluginsv2/incoming/abc"])
@pytest.mark.parametrize(("limits", "sender"), [(LOOPBACK, "203.0.113.9"), (GuardLimits(), "127.0.0.1")])
def test_a_trusted_proxy_is_believed_and_nobody_else(
    path: str, limits: GuardLimits, sender: str, container: Any, serve: Any
) -> None:
    """What becomes an event, what has no route and what the guard refuses all name the same sender."""
    told: list[Any] = []
    base = f"http://127.0.0.1:{serve(application(container, limits, told), proxy_headers=False)}"
    assert httpx.post(base + path, content=b"{}", headers=FORWARDED).status_code == 200
    assert httpx.get(base + path, headers=FORWARDED).status_code == 405
    assert httpx.post(base + path, content=b"{}", headers={**FORWARDED, "X": "x" * 20_000}).status_code == 431
    assert container.requests[-1].remote == sender
    assert [remote for _, _, remote, _ in container.refusals] == [sender]
    assert [remote for _, _, remote, _ in told] == [sender]


@pytest.mark.parametrize("client", [None, ("10.0.0.1", 4711)])
def test_a_scope_without_a_trusted_peer_is_left_as_it_is(client: Any) -> None:
    scope = {"type": "http", "client": client, "headers": [(b"x-forwarded-for", b"203.0.113.9")]}
    assert with_client(scope, LOOPBACK.trusted_proxies) is scope


def test_a_hostile_header_names_nobody() -> None:
    """Bytes of any kind are no address."""
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(b"x-forwarded-for", bytes(range(256))), (b"x-forwarded-for", b"203.0.113.9, \xff\r\nx")],
    }
    assert with_client(scope, LOOPBACK.trusted_proxies) is scope


def test_the_guard_takes_no_time_for_proxies_where_there_are_none() -> None:
    """The scope of a request is handed on as it came."""
    scopes: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/incoming/abc",
        "client": ("127.0.0.1", 1),
        "headers": [(b"content-length", b"0"), (b"x-forwarded-for", b"203.0.113.9")],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        raise AssertionError

    asyncio.run(Guard(inner, prefixes=("/incoming",), limits=GuardLimits())(scope, receive, send))  # type: ignore[arg-type]
    assert scopes[0] is scope
