"""The receiver as a Flask blueprint: same routes, same answers, for Airflow's bridge to Flask.

It relies on the guard in front of it for limits, for headers that mean the same as elsewhere, and for a body
at all: Starlette's bridge passes chunked requests on without one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # its own class on Python 3.10
from functools import partial
from typing import TypeVar

import flask
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.routing import BaseConverter, Rule

from airflow_incoming.core.errors import (
    BodyTooLarge,
    EndpointNotFound,
    RequestRejected,
    Stopping,
    Undecided,
)
from airflow_incoming.core.messages import Request
from airflow_incoming.web.framing import text_of
from airflow_incoming.web.ports import Container
from airflow_incoming.web.responses import Response, from_error, from_health, from_outcome, from_token
from airflow_incoming.web.routes import ACCEPT_TIMEOUT, Room, find_route, parse_api_key
from airflow_incoming.web.running import RunningContainer
from airflow_incoming.web.threads import Threads

log = logging.getLogger(__name__)
T = TypeVar("T")


def create_blueprint(
    container_factory: Callable[[], Container], *, accept_timeout: float = ACCEPT_TIMEOUT
) -> flask.Blueprint:
    """Return the blueprint ``incoming_receiver``; it answers for everything below ``/incoming``.

    The container starts with the first request.
    """
    container, threads = RunningContainer(container_factory), Threads()
    blueprint = flask.Blueprint("incoming_receiver", __name__, url_prefix="/incoming")

    def answer(path: str) -> flask.Response:
        try:
            response = _answer(path, container, threads, accept_timeout)
        except Exception as error:  # noqa: BLE001  becomes the answer, and is logged there if unexpected
            response = from_error(error)
        return _BareResponse(response.body, response.status, list(response.headers))

    blueprint.record_once(lambda state: _add_only_route(state, answer))
    blueprint.record_once(_exempt_from_csrf)
    return blueprint


def _answer(path: str, running: RunningContainer, threads: Threads, accept_timeout: float) -> Response:
    room, endpoint_id = _find_route(path, running)
    container = running.get()
    if room == "health":
        return from_health(_wait(threads.start(container.health.report), accept_timeout))
    if room == "token":
        issue = partial(container.token_issuer.issue, parse_api_key(_body()), remote=_remote())
        return from_token(_wait(threads.start(issue), accept_timeout))
    return from_outcome(_wait(container.receiver.receive(_request(endpoint_id)), accept_timeout))


def _find_route(path: str, running: RunningContainer) -> tuple[Room, str]:
    try:
        if "//" in flask.request.path:  # no path of ours, though Flask may take several slashes for one
            raise EndpointNotFound()
        return find_route(flask.request.method, path)
    except RequestRejected as error:
        if running.running is not None:
            running.running.tally.refused(path, error, remote=_remote(), size=0)
        raise


def _request(endpoint_id: str) -> Request:
    return Request(
        endpoint_id=endpoint_id,
        body=_body(),
        # WSGI has bytes as the characters of these numbers (PEP 3333).
        headers={
            name.lower(): text_of(value.encode("latin-1")) for name, value in flask.request.headers.items()
        },
        query=flask.request.query_string.decode("latin-1"),
        remote=_remote(),
    )


def _remote() -> str | None:
    """Return the address that the guard has found; ProxyFix, where it is on, believes everybody's headers."""
    environ = flask.request.environ
    known: Mapping[str, str | None] = environ.get("werkzeug.proxy_fix.orig", environ)
    return known.get("REMOTE_ADDR")


def _body() -> bytes:
    try:
        return flask.request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise BodyTooLarge(flask.request.max_content_length or 0) from error


def _wait(future: Future[T], timeout: float) -> T:
    try:
        return future.result(timeout)
    except CancelledError as error:
        raise Stopping() from error
    except FutureTimeoutError as error:
        log.warning("A request was still undecided after %s seconds", timeout)
        raise Undecided() from error


class _BareResponse(flask.Response):
    """Says no content type of its own: a 204 has none."""

    default_mimetype = None


class _Rest(BaseConverter):
    """Nothing, or a slash and anything."""

    regex = "(?:/.*)?"
    part_isolating = False


def _add_only_route(state: BlueprintSetupState, answer: Callable[[str], flask.Response]) -> None:
    """Route every path and every method under the prefix to ``answer``.

    Flask's own ``route`` leaves some methods, and doubled slashes, to the application, whose error
    pages are HTML.
    """
    state.app.url_map.converters["incoming_rest"] = _Rest
    endpoint = f"{state.name_prefix}.{state.name}.answer".lstrip(".")
    rule = Rule(f"{state.url_prefix}<incoming_rest:path>", endpoint=endpoint, merge_slashes=False)
    rule.provide_automatic_options = False  # type: ignore[attr-defined]  # Flask looks for it on every rule
    state.app.url_map.add(rule)
    state.app.view_functions[endpoint] = answer


def _exempt_from_csrf(state: BlueprintSetupState) -> None:
    """Senders have no CSRF token. Only this blueprint is exempt, never the application."""
    csrf = state.app.extensions.get("csrf")
    if csrf is not None:
        csrf.exempt(state.blueprint)
