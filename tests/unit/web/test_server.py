"""``airflow incoming serve``: the application that uvicorn makes."""

from __future__ import annotations

import importlib
import logging.config
import resource
import sys
import types
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

import airflow_incoming
from airflow_incoming.web import server
from airflow_incoming.web.places import GuardLimits
from airflow_incoming.web.protocol import BoundedHeadProtocol


@pytest.fixture
def port(container: Any, serve: Any, http: str, monkeypatch: pytest.MonkeyPatch) -> int:
    bootstrap = types.ModuleType("airflow_incoming.bootstrap")
    bootstrap.container = lambda: container  # type: ignore[attr-defined]
    bootstrap.guard_limits = lambda: GuardLimits(max_body=100)  # type: ignore[attr-defined]
    bootstrap.accept_timeout = lambda: 1.0  # type: ignore[attr-defined]
    bootstrap.note_refused = lambda *refused: container.refusals.append(refused)  # type: ignore[attr-defined]
    bootstrap.running_receiver = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow_incoming.bootstrap", bootstrap)
    monkeypatch.setattr(airflow_incoming, "bootstrap", bootstrap, raising=False)
    return int(serve(server.create_app(), http, lifespan="on"))


def test_the_receiver_is_served_below_incoming(port: int, container: Any) -> None:
    base = f"http://127.0.0.1:{port}"
    assert httpx.post(f"{base}/incoming/abc", content=b"{}").status_code == 200
    assert httpx.get(f"{base}/incoming/health").json()["status"] == "healthy"
    assert container.requests[0].endpoint_id == "abc"
    assert container.starts == 1


@pytest.mark.parametrize("path", ["/", "/abc", "/incoming", "/incoming/", "/incomings/abc", "/incoming/a/b"])
def test_everything_else_is_one_same_404(path: str, port: int) -> None:
    answer = httpx.post(f"http://127.0.0.1:{port}{path}", content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_paths_that_nobody_serves_are_guarded_too(port: int, container: Any) -> None:
    assert httpx.post(f"http://127.0.0.1:{port}/x", content=b"a" * 101).status_code == 413
    ((path, error, remote, size),) = container.refusals
    assert (path, error.code, remote, size) == ("/x", "body_too_large", "127.0.0.1", 0)


def test_no_proxy_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: given.update(options, app=app))
    server.run("127.0.0.1", 8081, 2)
    assert (given["host"], given["port"], given["workers"]) == ("127.0.0.1", 8081, 2)
    assert given["http"] is BoundedHeadProtocol
    assert (given["proxy_headers"], given["access_log"], given["server_header"]) == (False, False, False)
    module, name = given["app"].split(":")
    assert getattr(importlib.import_module(module), name) is server.create_app


def test_as_many_connections_may_be_open_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that say nothing hold one each, until they are closed."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(
        uvicorn, "run", lambda *_, **__: limits.append(resource.getrlimit(resource.RLIMIT_NOFILE))
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
    try:
        server.run("127.0.0.1", 8081, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert limits == [(before[1], before[1])]


@pytest.fixture
def logging_as_served() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "airflow_incoming")]
    kept = [{**logger.__dict__, "filters": [*logger.filters]} for logger in loggers]
    logging.config.dictConfig(server.LOGGING)
    yield
    for logger, state in zip(loggers, kept, strict=True):
        logger.__dict__.update(state)


@pytest.mark.usefixtures("logging_as_served")
def test_nothing_is_logged_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(server.LOGGING)  # once more, for the standard error of this moment
    logging.getLogger("airflow_incoming.web").info("hello")
    logging.getLogger("uvicorn.error").info("hello")
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("hello")) == ("", 2)
