"""An ASGI middleware that bounds what a stranger can cost before anybody looks at the request.

Body bytes, header bytes, time, requests at once and memory are all limited here, for the native
receiver and for the Flask bridge alike, so that neither needs limits of its own; and what a head says is
made the same to both (see :mod:`web.framing`). Every other path passes untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette._utils import get_route_path  # private, but the only one that knows root_path as Mount does
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_incoming.core.addresses import Networks
from airflow_incoming.core.errors import BodyTimeout, BodyTooLarge, EndpointNotFound, Overloaded
from airflow_incoming.web.deadline import Deadline, Deadlines
from airflow_incoming.web.framing import InvalidHTTP, closing, read_head, with_length
from airflow_incoming.web.paths import is_nowhere, prefix_of
from airflow_incoming.web.protocols import read_whole
from airflow_incoming.web.proxies import with_client
from airflow_incoming.web.replay import Replay
from airflow_incoming.web.responses import Response, from_error

#: Seconds for which the rest of a refused body is read and thrown away. Closing with unread bytes
#: makes the kernel send a reset, and many clients then never read why they were refused.
LINGER = 1.0
#: Refused requests that may linger at once; more are closed at once.
MAX_LINGERING = 64
#: Below this path Airflow bridges to Flask, with one of few threads for each request.
BRIDGE = "/pluginsv2"
#: Bytes. Bodies beyond this may use three quarters of the memory for all, so that a few slow large
#: ones leave room for the usual ones.
LARGE_BODY = 64 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardLimits:
    """The bounds. Sizes in bytes, times in seconds, the rest in requests or headers.

    ``max_concurrency`` holds for each prefix; prefixes on the Flask bridge have
    ``max_bridge_concurrency``, well below the 40 threads that all synchronous routes share. Requests
    whose body is on its way cost little but memory; they have ``max_reading`` and ``max_buffered``,
    so that slow senders take no place from others.
    Proxies that are trusted say whose requests they pass on; without any, nobody is believed.
    """

    max_body: int = 2**20
    body_timeout: float = 10.0
    max_headers: int = 100
    max_header_bytes: int = 16 * 2**10
    max_concurrency: int = 256
    max_bridge_concurrency: int = 16
    max_reading: int = 2048
    max_buffered: int = 64 * 2**20
    trusted_proxies: Networks = ()


#: Called with the path of a refused request, the error, the sender's address, and bytes read so far.
Refused = Callable[[str, Exception, str | None, int], None]


class ClientGone(Exception):
    """The client disconnected before its body was whole."""


class Guard:
    """Reads each request under ``prefixes`` within the limits, then passes it on whole.

    ``limits`` may be a function; it is asked at the first request, not before. ``refused`` is told of
    each request that is refused here: path, error, the sender's address, bytes read so far. ``receivers``
    are the prefixes of receivers, by default all. At a prefix itself there is nobody: without this Airflow's
    own pages would answer there. So it is at paths that only some take for one below the prefix.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        prefixes: tuple[str, ...],
        limits: GuardLimits | Callable[[], GuardLimits],
        refused: Refused | None = None,
        receivers: tuple[str, ...] | None = None,
    ) -> None:
        self._app = app
        self.prefixes = prefixes
        self._receivers = prefixes if receivers is None else receivers
        self._ask_limits = limits
        self._tell_refused = refused
        self._limits: GuardLimits | None = None
        self._body_deadlines = self._drain_deadlines = Deadlines(LINGER)
        self._reading = 0
        self._occupied = dict.fromkeys(prefixes, 0)
        self._buffered = 0
        self._lingering = 0

    @property
    def in_flight(self) -> int:
        """Requests that are being read or answered."""
        return self._reading + sum(self._occupied.values())

    @property
    def buffered(self) -> int:
        """Bytes of bodies held for them."""
        return self._buffered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        prefix = prefix_of(scope, self.prefixes)
        if prefix is None:
            if scope["type"] == "lifespan":
                read_whole(receive, self.prefixes, scope.get("root_path", ""))
            await self._app(scope, receive, send)
            return
        with _Place(self, prefix) as place:
            try:
                limits = self._limits or self._resolve_limits()
                if limits.trusted_proxies:
                    scope = with_client(scope, limits.trusted_proxies)
                scope, body = await self._admit(scope, receive, place, limits)
            except ClientGone:
                refusal = None
            except Exception as error:  # noqa: BLE001  becomes the answer
                refusal = from_error(error)  # the error itself would keep the buffer alive
                place.closes |= not place.complete or isinstance(error, InvalidHTTP)
                if self._tell_refused is not None:
                    remote = (scope.get("client") or (None,))[0]
                    self._tell_refused(get_route_path(scope), error, remote, place.held)
            else:
                send = closing(scope, send) if place.closes else send
                await self._app(scope, Replay(body, receive), place.freeing(send))
                return
        if refusal is None:
            await _end_unread(send)
        else:
            send = closing(scope, send) if place.closes else send
            await self._refuse(refusal, receive, send, unread=not place.complete)

    async def _admit(
        self, scope: Scope, receive: Receive, place: _Place, limits: GuardLimits
    ) -> tuple[Scope, bytes]:
        headers, length, exact, place.closes = read_head(
            scope,
            max_headers=limits.max_headers,
            max_header_bytes=limits.max_header_bytes,
            max_body=limits.max_body,
        )
        place.begin(limits)
        with Deadline(self._body_deadlines):
            body = await _read(receive, place, limits)
        place.take(limits)
        if length is not None and length != len(body):
            raise InvalidHTTP("The request body doesn't have the length that Content-Length says.")
        path = get_route_path(scope)
        if place.prefix in self._receivers and (path == place.prefix or is_nowhere(path)):
            raise EndpointNotFound()
        if not exact or (length is None and body):
            headers = with_length(headers, len(body))
        return scope if headers is scope["headers"] else {**scope, "headers": headers}, body

    def _resolve_limits(self) -> GuardLimits:
        limits = self._ask_limits if isinstance(self._ask_limits, GuardLimits) else self._ask_limits()
        self._body_deadlines = Deadlines(limits.body_timeout)
        self._limits = limits
        return limits

    async def _refuse(self, response: Response, receive: Receive, send: Send, *, unread: bool) -> None:
        """Answer; where the body is unread, let it drain a little."""
        headers = response.raw_headers()
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if unread and self._lingering < MAX_LINGERING:
            await send({"type": "http.response.body", "body": response.body, "more_body": True})
            self._lingering += 1
            try:
                await _drain(receive, self._drain_deadlines)
            finally:
                self._lingering -= 1
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await send({"type": "http.response.body", "body": response.body, "more_body": False})


class _Place:
    """What one request occupies; everything is given back when the block is left, however that is."""

    __slots__ = ("_guard", "_reading", "_taken", "closes", "complete", "held", "prefix")

    def __init__(self, guard: Guard, prefix: str) -> None:
        self._guard = guard
        self.prefix = prefix
        self._reading = self._taken = 0
        self.held = 0
        self.complete = False
        #: The connection ends with the answer.
        self.closes = False

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard._reading -= self._reading
        self._free()
        self._guard._buffered -= self.held

    def begin(self, limits: GuardLimits) -> None:
        """Begin to read. Raises Overloaded."""
        if self._guard._reading >= limits.max_reading or self._is_full(limits):
            raise Overloaded()
        self._guard._reading += 1
        self._reading = 1

    def _free(self) -> None:
        self._guard._occupied[self.prefix] -= self._taken
        self._taken = 0

    def freeing(self, send: Send) -> Send:
        """Return a ``send`` that gives the place back with the end of the answer.

        A client that keeps all places busy sends its next request before the application has returned
        from the last. Only on the bridge are places so few that it would meet a refusal.
        """
        if not self.prefix.startswith(BRIDGE):
            return send

        async def send_and_free(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._free()
            await send(message)

        return send_and_free

    def take(self, limits: GuardLimits) -> None:
        """Occupy one of the places of requests that were read. Raises Overloaded."""
        if self._is_full(limits):
            raise Overloaded()
        self._guard._reading -= self._reading
        self._guard._occupied[self.prefix] += 1
        self._reading, self._taken = 0, 1

    def _is_full(self, limits: GuardLimits) -> bool:
        bridged = self.prefix.startswith(BRIDGE)
        most = limits.max_bridge_concurrency if bridged else limits.max_concurrency
        return self._guard._occupied[self.prefix] >= most

    def hold(self, size: int, limits: GuardLimits) -> None:
        """Account for bytes that were read. Raises BodyTooLarge or Overloaded."""
        self.held += size
        self._guard._buffered += size
        if self.held > limits.max_body:
            raise BodyTooLarge(limits.max_body)
        most = limits.max_buffered if self.held <= LARGE_BODY else limits.max_buffered * 3 // 4
        if self._guard._buffered > most:
            raise Overloaded()


async def _read(receive: Receive, place: _Place, limits: GuardLimits) -> bytes:
    buffer = bytearray()  # not a list of chunks: a chunk of one byte would cost fifty
    while not place.complete:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        place.complete = not message.get("more_body", False)
        place.hold(len(chunk), limits)
        if place.complete and not buffer:
            return chunk
        buffer += chunk
    return bytes(buffer)


async def _drain(receive: Receive, deadlines: Deadlines) -> None:
    with suppress(BodyTimeout), Deadline(deadlines):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return


async def _end_unread(send: Send) -> None:
    """End a request whose client is gone: nobody reads this, but middlewares around us expect an answer."""
    with suppress(OSError):
        await send({"type": "http.response.start", "status": 499, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
