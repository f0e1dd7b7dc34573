"""One guard in front of every receiver: nothing reaches a thread or a parser unbounded.

A pure ASGI middleware. Of the requests to our prefixes it reads the whole body under a size limit and a
deadline, and hands it on in one piece with a true Content-Length, which Starlette's WSGI bridge
needs: without it a chunked body reaches Flask empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from airflow_incoming.core.errors import (
    BodyTimeout,
    BodyTooLarge,
    HeadersTooLarge,
    IncomingError,
    Overloaded,
    RequestRejected,
)
from airflow_incoming.web.responses import from_error

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_HEADERS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardLimits:
    """Bounds of one process: sizes in bytes, ``body_timeout`` in seconds."""

    max_body: int = 2**20
    max_header_bytes: int = 16 * 2**10
    body_timeout: float = 10.0
    max_concurrency: int = 256
    max_buffered: int = 64 * 2**20


class Guard:
    """Guards the paths below ``prefixes``; every other request passes untouched."""

    def __init__(self, app: App, *, prefixes: Iterable[str], limits: Callable[[], GuardLimits]) -> None:
        self._app = app
        self._prefixes = tuple(prefix.rstrip("/") for prefix in prefixes)
        self._below = tuple(prefix + "/" for prefix in self._prefixes)
        self._read_limits = limits
        self._limits: GuardLimits | None = None
        self.in_flight = 0
        self.buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not self._guards(scope):
            await self._app(scope, receive, send)
            return
        if self._limits is None:
            self._limits = self._read_limits()
        if self.in_flight >= self._limits.max_concurrency:
            await _refuse(Overloaded(), send)
            return
        self.in_flight += 1
        try:
            await self._handle(scope, receive, send, self._limits)
        finally:
            self.in_flight -= 1

    def _guards(self, scope: Scope) -> bool:
        path = scope["path"]
        root = scope.get("root_path", "")
        if root and path.startswith(root + "/"):
            path = path[len(root) :]
        return path in self._prefixes or path.startswith(self._below)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, limits: GuardLimits) -> None:
        reader = _BodyReader(self, limits)
        try:
            declared = _check_headers(scope["headers"], limits)
            body = await reader.read(receive, declared)
            if body is None:
                return  # the sender is gone
            await self._app(_with_length(scope, len(body)), _replay(body, receive), send)
        except IncomingError as error:
            await _refuse(error, send)
        finally:
            reader.release()


class _BodyReader:
    """Reads one body, and counts what it holds towards the process's total."""

    def __init__(self, guard: Guard, limits: GuardLimits) -> None:
        self._guard = guard
        self._limits = limits
        self._held = 0

    async def read(self, receive: Receive, declared: int | None) -> bytes | None:
        """Return the body, or None where the sender has disconnected.

        Raises BodyTooLarge, BodyTimeout, Overloaded.
        """
        if declared == 0:
            await receive()
            return b""
        try:
            return await asyncio.wait_for(self._read(receive), self._limits.body_timeout)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise BodyTimeout(
                f"The request body did not arrive within {self._limits.body_timeout:g} seconds."
            ) from error

    async def _read(self, receive: Receive) -> bytes | None:
        chunks = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            if chunk:
                self._hold(len(chunk))
                chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _hold(self, size: int) -> None:
        self._held += size
        self._guard.buffered += size
        if self._held > self._limits.max_body:
            raise BodyTooLarge(self._limits.max_body)
        if self._guard.buffered > self._limits.max_buffered:
            raise Overloaded()

    def release(self) -> None:
        """Give back what was held."""
        self._guard.buffered -= self._held
        self._held = 0


def _check_headers(headers: list[tuple[bytes, bytes]], limits: GuardLimits) -> int | None:
    """Return the declared length of the body, if any. Raises HeadersTooLarge, BodyTooLarge."""
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > limits.max_header_bytes:
        raise HeadersTooLarge(
            f"At most {MAX_HEADERS} headers with {limits.max_header_bytes} bytes in all are accepted."
        )
    declared = {value for name, value in headers if name == b"content-length"}
    if not declared:
        return None
    length = declared.pop()
    if declared or not length.isdigit():
        raise RequestRejected("The Content-Length header is wrong.")
    if int(length) > limits.max_body:
        raise BodyTooLarge(limits.max_body)
    return int(length)


def _with_length(scope: Scope, length: int) -> Scope:
    if any(name == b"content-length" for name, _ in scope["headers"]):
        return scope
    headers = [item for item in scope["headers"] if item[0] != b"transfer-encoding"]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body in one piece, and then whatever really comes."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _refuse(error: IncomingError, send: Send) -> None:
    """Answer without having read the body; the connection can't be used again after that."""
    response = from_error(error)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
