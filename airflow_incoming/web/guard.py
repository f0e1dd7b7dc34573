"""An ASGI middleware that bounds what a stranger can cost before anybody looks at the request.

Body bytes, header bytes, time, requests at once and memory are all limited here, for the native
receiver and for the Flask bridge alike, so that neither needs limits of its own; and what a head says is
made the same to both (see :mod:`web.framing`). Where the head decides, the body is never held. Every other
path passes untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette._utils import get_route_path  # private, but the only one that knows root_path as Mount does
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_incoming.core.errors import BodyTimeout, BodyTooLarge, EndpointNotFound
from airflow_incoming.web.connections import Connections, most_waiting
from airflow_incoming.web.deadline import Deadline, Deadlines, wait_for
from airflow_incoming.web.framing import Head, InvalidHTTP, closing, read_head, texts_of, with_length
from airflow_incoming.web.pace import answer_paced
from airflow_incoming.web.paths import is_nowhere, prefix_of
from airflow_incoming.web.places import GuardLimits, Place, Places
from airflow_incoming.web.protocols import read_whole
from airflow_incoming.web.proxies import with_client
from airflow_incoming.web.replay import Replay
from airflow_incoming.web.responses import Response, from_error
from airflow_incoming.web.routes import ACCEPT_TIMEOUT
from airflow_incoming.web.screen import HEAD, Screen, Screened

#: Seconds for which the rest of a refused body is read and thrown away. Closing with unread bytes
#: makes the kernel send a reset, and many clients then never read why they were refused.
LINGER = 1.0
#: Seconds for which a request waits to be judged by what holds now, before its body is read anyhow.
REFRESH = 1.0

_READ = Screened()

#: Called with the path of a refused request, the error, the sender's address, and bytes read so far.
Refused = Callable[[str, Exception, str | None, int], None]


class ClientGone(Exception):
    """The client disconnected before its body was whole."""


class Guard:
    """Reads each request under ``prefixes`` within the limits, then passes it on whole.

    ``limits`` may be a function; it is asked at the first request, not before. ``refused`` is told of
    each request that is refused here: path, error, the sender's address, bytes read so far. ``receivers``
    are the prefixes of receivers, by default all; of requests to those ``screen`` looks at the heads. At a
    prefix itself there is nobody: without this Airflow's own pages would answer there. So it is at paths that
    only some take for one below the prefix.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        prefixes: tuple[str, ...],
        limits: GuardLimits | Callable[[], GuardLimits],
        refused: Refused | None = None,
        receivers: tuple[str, ...] | None = None,
        screen: Screen | None = None,
    ) -> None:
        self._app = app
        self.prefixes = prefixes
        self._receivers = prefixes if receivers is None else receivers
        self._ask_limits = limits
        self._tell_refused = refused
        self._screen = screen
        self._limits: GuardLimits | None = None
        self._body_deadlines = self._drain_deadlines = Deadlines(LINGER)
        self._accept_deadlines = Deadlines(ACCEPT_TIMEOUT)
        self._refresh_deadlines = Deadlines(REFRESH)
        self._places = Places(prefixes)

    @property
    def in_flight(self) -> int:
        """Requests that are being read or answered."""
        return self._places.reading.taken + sum(each.taken for each in self._places.occupied.values())

    @property
    def buffered(self) -> int:
        """Bytes of bodies held for them."""
        return self._places.buffered.taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        prefix = prefix_of(scope, self.prefixes)
        if prefix is None:
            if scope["type"] == "lifespan":
                read_whole(receive, self.prefixes, scope.get("root_path", ""), self._silent())
            await self._app(scope, receive, send)
            return
        try:
            limits = self._limits or self._resolve_limits()
        except Exception as error:  # noqa: BLE001  becomes the answer
            await _send(from_error(error), closing(scope, send))
            return
        if limits.trusted_proxies:
            scope = with_client(scope, limits.trusted_proxies)
        await self._attend(prefix, limits, scope, receive, send)

    async def _attend(
        self, prefix: str, limits: GuardLimits, scope: Scope, receive: Receive, send: Send
    ) -> None:
        with Place(self._places, prefix, limits, scope) as place:
            try:
                scope, body = await self._admit(scope, receive, place, limits)
            except ClientGone:
                refusal = None
            except Exception as error:  # noqa: BLE001  becomes the answer
                refusal = from_error(error)  # the error itself would keep the buffer alive
                place.closes |= not place.complete or isinstance(error, InvalidHTTP)
                if self._tell_refused is not None and not place.noted:
                    remote = (scope.get("client") or (None,))[0]
                    self._tell_refused(get_route_path(scope), error, remote, place.seen)
            else:
                send = place.freeing(closing(scope, send) if place.closes else send)
                replay = Replay(body, receive)
                if prefix in self._receivers:
                    await self._app(scope, replay, send)
                else:
                    await answer_paced(self._app, scope, replay, send, gone=receive)
                return
        if refusal is None:
            await _end_unread(send)
        else:
            send = closing(scope, send) if place.closes else send
            await self._refuse(refusal, receive, send, place)

    async def _admit(
        self, scope: Scope, receive: Receive, place: Place, limits: GuardLimits
    ) -> tuple[Scope, bytes]:
        head = read_head(
            scope,
            max_headers=limits.max_headers,
            max_header_bytes=limits.max_header_bytes,
            max_body=limits.max_body,
        )
        place.closes = head.last
        screened = _READ
        if place.prefix in self._receivers:
            path = get_route_path(scope)
            if path == place.prefix or is_nowhere(path):
                await self._throw_away(receive, place, head)
                raise EndpointNotFound()
            if self._screen is not None:
                screened = self._screen.look(scope, path, head.headers, head.length)
                if screened.refresh is not None:
                    await self._wait_to_know(screened.refresh, place)
                    screened = self._screen.look(scope, path, head.headers, head.length)
        if screened.reads:
            return await self._read(scope, receive, place, head, screened)
        place.noted = screened.refusal is not None
        await self._throw_away(receive, place, head)
        place.closes |= not place.complete
        if screened.refusal is not None:
            if not screened.refusal.done():
                place.begin()
            await wait_for(screened.refusal, self._accept_deadlines)
        place.take()
        return {**scope, "headers": with_length(head.headers, 0)}, b""

    async def _wait_to_know(self, refresh: Future[Any], place: Place) -> None:
        place.begin()
        with suppress(Exception):  # then the body is read, and whoever receives it says what is wrong
            await wait_for(refresh, self._refresh_deadlines)

    async def _read(
        self, scope: Scope, receive: Receive, place: Place, head: Head, screened: Screened
    ) -> tuple[Scope, bytes]:
        headers, length, exact, _ = head
        if screened.most is not None:
            place.most = min(place.most, screened.most)
            if length is not None and length > place.most:
                await self._throw_away(receive, place, head)
                raise BodyTooLarge(place.most)
        place.begin()
        with Deadline(self._body_deadlines):
            body = await _read(receive, place)
        place.take()
        if length is not None and length != len(body):
            raise InvalidHTTP("The request body doesn't have the length that Content-Length says.")
        if not exact or (length is None and body):
            headers = with_length(headers, len(body))
        if headers is not scope["headers"]:
            scope = {**scope, "headers": headers}
        if screened.head is not None:
            request, endpoint = screened.head
            if headers is not head.headers:
                request = replace(request, headers=texts_of(headers))
            scope[HEAD] = request, endpoint
        return scope, body

    async def _throw_away(self, receive: Receive, place: Place, head: Head) -> None:
        """Wait a little for the end of a body that nobody needs, so that its connection may be kept.

        Who waits to be told to send one is answered at once.
        """
        place.complete = not head.length and (head.length is not None or head.exact)
        expects = any(name == b"expect" for name, _ in head.headers)
        if place.complete or expects or (linger := place.linger()) is None:
            return
        with linger:
            await _drain(receive, place, self._drain_deadlines)
        if place.is_gone:
            raise ClientGone

    def _resolve_limits(self) -> GuardLimits:
        limits = self._ask_limits if isinstance(self._ask_limits, GuardLimits) else self._ask_limits()
        limits = replace(limits, max_reading=min(limits.max_reading, most_waiting()))
        self._body_deadlines = Deadlines(limits.body_timeout)
        self._accept_deadlines = Deadlines(limits.accept_timeout)
        self._limits = limits
        return limits

    def _silent(self) -> Connections | None:
        try:
            limits = self._limits or self._resolve_limits()
        except Exception:  # noqa: BLE001  each request will be told
            return None
        return Connections(most_waiting(), share=limits.max_share, trusted=limits.trusted_proxies)

    async def _refuse(self, response: Response, receive: Receive, send: Send, place: Place) -> None:
        """Answer; where the body is unread, let it drain a little."""
        linger = None if place.complete or place.drained else place.linger()
        if linger is None:
            await _send(response, send)
            return
        with linger:
            await _send(response, send, more=True)
            await _drain(receive, place, self._drain_deadlines)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(response: Response, send: Send, *, more: bool = False) -> None:
    headers = response.raw_headers()
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": more})


async def _read(receive: Receive, place: Place) -> bytes:
    buffer = bytearray()  # not a list of chunks: a chunk of one byte would cost fifty
    while not place.complete:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        place.complete = not message.get("more_body", False)
        place.hold(len(chunk))
        if place.complete and not buffer:
            return chunk
        buffer += chunk
    return bytes(buffer)


async def _drain(receive: Receive, place: Place, deadlines: Deadlines) -> None:
    place.drained = True
    with suppress(BodyTimeout), Deadline(deadlines):
        while not (place.complete or place.is_gone):
            message = await receive()
            place.seen += len(message.get("body", b""))
            place.is_gone = message["type"] == "http.disconnect"
            place.complete = not place.is_gone and not message.get("more_body", False)


async def _end_unread(send: Send) -> None:
    """End a request whose client is gone: nobody reads this, but middlewares around us expect an answer."""
    with suppress(OSError):
        await send({"type": "http.response.start", "status": 499, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
