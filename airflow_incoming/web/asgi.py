"""The native receiver: an ASGI app with nothing between the server and the receiver."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from airflow_incoming.core.errors import Undecided
from airflow_incoming.core.messages import Request
from airflow_incoming.web.guard import Receive, Scope, Send
from airflow_incoming.web.ports import Container, ContainerFactory
from airflow_incoming.web.responses import Response, from_error, from_health, from_outcome, from_token
from airflow_incoming.web.routes import find_route, join_headers, read_api_key


class ReceiverApp(FastAPI):
    """A FastAPI only because Airflow enters the lifespan of those it mounts; requests bypass it."""

    def __init__(self, container_factory: ContainerFactory) -> None:
        super().__init__(lifespan=self._lifespan, openapi_url=None, docs_url=None, redoc_url=None)
        self._container_factory = container_factory
        self._container: Container | None = None
        self._starting = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request or the lifespan."""
        if scope["type"] == "http":
            await _send(await self._respond(scope, receive), scope["method"], send)
        else:
            await super().__call__(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        container = await asyncio.to_thread(self._start)
        try:
            yield
        finally:
            await asyncio.to_thread(container.stop)

    def _start(self) -> Container:
        with self._starting:
            if self._container is None:
                container = self._container_factory()
                container.start()
                self._container = container
            return self._container

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        try:
            container = self._container
            if container is None:  # nobody entered the lifespan, so the first request starts the threads
                container = await asyncio.to_thread(self._start)
            route = find_route(scope["method"], _path(scope))
            if route == "health":
                return from_health(await asyncio.to_thread(container.health.report))
            request = await _read_request(scope, receive)
            if route == "token":
                return await asyncio.to_thread(_issue, container, request)
            future = asyncio.wrap_future(container.receiver.receive(request))
            return from_outcome(await asyncio.wait_for(asyncio.shield(future), container.accept_timeout))
        except asyncio.TimeoutError:
            return from_error(Undecided())
        except Exception as error:
            return from_error(error)


def create_receiver_app(container_factory: ContainerFactory) -> FastAPI:
    """Return the app to mount; nothing is made or started before its lifespan or first request."""
    return ReceiverApp(container_factory)


def _issue(container: Container, request: Request) -> Response:
    return from_token(container.token_issuer.issue(read_api_key(request), remote=request.remote))


def _path(scope: Scope) -> str:
    """Return the path below our mount, whether or not a proxy has taken Airflow's own prefix away."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    mount = root[len(scope.get("app_root_path", "")) :]
    for prefix in (root, mount):
        if prefix and path.startswith(f"{prefix}/"):
            return path[len(prefix) :]
    return path


async def _read_request(scope: Scope, receive: Receive) -> Request:
    """Return the request; the guard in front has put its body in one piece."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    client = scope.get("client")
    return Request(
        endpoint_id=_path(scope).strip("/"),
        body=body,
        headers=join_headers(scope["headers"]),
        query=scope["query_string"].decode("latin-1"),
        remote=client[0] if client else None,
    )


async def _send(response: Response, method: str, send: Send) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})
