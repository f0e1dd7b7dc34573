"""The native receiver: an ASGI application whose requests meet no framework on their way."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette._utils import get_route_path  # private, but the only one that knows root_path as Mount does
from starlette.types import Receive, Scope, Send

from airflow_incoming.core.errors import BodyTooLarge, RequestRejected
from airflow_incoming.core.messages import Endpoint, Request
from airflow_incoming.web.deadline import Deadlines, wait_for
from airflow_incoming.web.guard import ClientGone
from airflow_incoming.web.ports import Container
from airflow_incoming.web.responses import Response, from_error, from_health, from_outcome, from_token
from airflow_incoming.web.routes import ACCEPT_TIMEOUT, Room, find_route, parse_api_key
from airflow_incoming.web.running import RunningContainer
from airflow_incoming.web.screen import HEAD, head_of
from airflow_incoming.web.threads import Threads

log = logging.getLogger(__name__)

#: The guard sets the real limit and passes bodies whole; this holds where there is no guard.
MAX_UNGUARDED_BODY = 16 * 2**20


def create_receiver_app(
    container_factory: Callable[[], Container],
    *,
    accept_timeout: float = ACCEPT_TIMEOUT,
    start_or_fail: bool = False,
) -> ReceiverApp:
    """Return the receiver, to be mounted at the base path.

    The container starts with the lifespan, or with the first request where nobody enters that.
    ``start_or_fail``: a failed start ends the server. Otherwise it is logged and tried again, for
    inside an api-server it must not take Airflow along.
    """
    return ReceiverApp(container_factory, accept_timeout=accept_timeout, start_or_fail=start_or_fail)


class ReceiverApp(FastAPI):
    """A FastAPI application by name only: Airflow enters the lifespan of no other kind."""

    def __init__(
        self, container_factory: Callable[[], Container], *, accept_timeout: float, start_or_fail: bool
    ) -> None:
        super().__init__(
            title="Incoming webhooks",
            lifespan=self._lifespan,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
        )
        self._container = RunningContainer(container_factory)
        self._accept_deadlines = Deadlines(accept_timeout)
        self._start_or_fail = start_or_fail
        self._threads = Threads()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; leave everything else to FastAPI."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001  becomes the answer, and is logged there if unexpected
            response = from_error(error)
        await send_response(send, response)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        known: tuple[Request, Endpoint] | None = scope.get(HEAD)  # what the guard has found out
        room, endpoint_id = self._find_route(scope) if known is None else ("receive", known[0].endpoint_id)
        container = self._container.running
        if container is None:
            container = await self._threads.run(self._container.get)
        if room == "health":
            report = self._threads.start(container.health.report)
            return from_health(await wait_for(report, self._accept_deadlines))
        body = await read_body(receive)
        if room == "token":
            issue = partial(container.token_issuer.issue, parse_api_key(body), remote=_remote(scope))
            return from_token(await wait_for(self._threads.start(issue), self._accept_deadlines))
        head, endpoint = known or (head_of(scope, endpoint_id, scope["headers"]), None)
        future = container.receiver.receive(_whole(head, body, endpoint))
        return from_outcome(await wait_for(future, self._accept_deadlines))

    def _find_route(self, scope: Scope) -> tuple[Room, str]:
        path = get_route_path(scope)
        try:
            return find_route(scope["method"], path)
        except RequestRejected as error:
            if self._container.running is not None:
                self._container.running.tally.refused(path, error, remote=_remote(scope), size=0)
            raise

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        try:
            await self._threads.run(self._container.open)
        except Exception:
            if self._start_or_fail:
                raise
            log.exception("The receiver could not be started; the first request tries again")
        try:
            yield
        finally:
            await self._threads.run(self._container.close)


def _whole(head: Request, body: bytes, admitted: Endpoint | None) -> Request:
    """Return a request with its body. ``replace`` would take twice as long."""
    return Request(
        endpoint_id=head.endpoint_id,
        body=body,
        headers=head.headers,
        query=head.query,
        remote=head.remote,
        admitted=admitted,
    )


async def send_response(send: Send, response: Response) -> None:
    """Send one of our responses as ASGI messages."""
    await send({"type": "http.response.start", "status": response.status, "headers": response.raw_headers()})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})


async def read_body(receive: Receive) -> bytes:
    """Return the whole body. Raises ClientGone or BodyTooLarge."""
    buffer = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(buffer + chunk) if buffer else chunk
        buffer += chunk
        if len(buffer) > MAX_UNGUARDED_BODY:
            raise BodyTooLarge(MAX_UNGUARDED_BODY)


def _remote(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None
