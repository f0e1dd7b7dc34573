"""What the guard has for requests, all together and of one sender: places, and bytes of bodies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Message, Scope, Send

from airflow_incoming.core.addresses import Networks, sender_of
from airflow_incoming.core.errors import BodyTooLarge, Overloaded
from airflow_incoming.web.routes import ACCEPT_TIMEOUT
from airflow_incoming.web.supply import Supply

#: Below this path Airflow bridges to Flask, with one of few threads for each request.
BRIDGE = "/pluginsv2"
#: Bytes. Bodies beyond this may use three quarters of the memory for all, so that a few slow large
#: ones leave room for the usual ones.
LARGE_BODY = 64 * 2**10
#: Refused requests of which the rest may be read at once; more are closed at once.
MAX_LINGERING = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardLimits:
    """The bounds. Sizes in bytes, times in seconds, the rest in requests or headers.

    ``max_concurrency`` holds for each prefix; prefixes on the Flask bridge have
    ``max_bridge_concurrency``, well below the 40 threads that all synchronous routes share. Requests
    whose body is on its way cost little but memory; they have ``max_reading`` and ``max_buffered``,
    so that slow senders take no place from others. Of all these one address has at most ``max_share`` (above
    0, at most 1) of what others leave, of bytes at least one body.
    Proxies that are trusted say whose requests they pass on; without any, nobody is believed.
    """

    max_body: int = 2**20
    body_timeout: float = 10.0
    max_headers: int = 100
    max_header_bytes: int = 16 * 2**10
    max_concurrency: int = 256
    max_bridge_concurrency: int = 16
    max_reading: int = 2048
    accept_timeout: float = ACCEPT_TIMEOUT
    max_buffered: int = 64 * 2**20
    max_share: float = 0.5
    trusted_proxies: Networks = ()


class Places:
    """All that there is."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self.reading = Supply()
        self.buffered = Supply()
        self.lingering = Supply()
        self.occupied = {prefix: Supply() for prefix in prefixes}


class Place:
    """What one request occupies; everything is given back when the block is left, however that is."""

    __slots__ = (
        *("_limits", "_most", "_occupied", "_places", "_reading", "_sender"),
        *("closes", "complete", "drained", "held", "is_gone", "most", "noted", "prefix", "seen"),
    )

    def __init__(self, places: Places, prefix: str, limits: GuardLimits, scope: Scope) -> None:
        client = scope.get("client")
        self._sender = _sender_of(client[0] if client else None)
        self._places = places
        self._limits = limits
        self._reading = False
        self._occupied: Supply | None = None
        bridged = prefix.startswith(BRIDGE)
        self._most = limits.max_bridge_concurrency if bridged else limits.max_concurrency
        self.prefix = prefix
        #: Bytes of the body that were read, that are held, and that may be.
        self.seen = self.held = 0
        self.most = limits.max_body
        #: The body is whole; what was on its way was awaited in vain; the client has left.
        self.complete = self.drained = self.is_gone = False
        #: Somebody else has taken note of the request's refusal.
        self.noted = False
        #: The connection ends with the answer.
        self.closes = False

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_reading()
        self._free()
        if self.held:
            self._places.buffered.give_back(self._sender, self.held)

    def begin(self) -> None:
        """Begin to read, or to wait for what decides about that. Raises Overloaded."""
        if self._reading:
            return
        reading, limits = self._places.reading, self._limits
        if self._is_full() or not reading.has(self._sender, limits.max_reading, limits.max_share):
            raise Overloaded()
        reading.take(self._sender)
        self._reading = True

    def hold(self, size: int) -> None:
        """Account for bytes that were read. Raises BodyTooLarge or Overloaded."""
        self.seen += size
        if self.held + size > self.most:
            raise BodyTooLarge(self.most)
        limits = self._limits
        most = limits.max_buffered if self.held + size <= LARGE_BODY else limits.max_buffered * 3 // 4
        if not self._places.buffered.has(self._sender, most, limits.max_share, size, limits.max_body):
            raise Overloaded()
        self.held += size
        self._places.buffered.take(self._sender, size)

    def take(self) -> None:
        """Occupy one of the places of requests that were read. Raises Overloaded."""
        if self._is_full():
            raise Overloaded()
        self._end_reading()
        self._occupied = self._places.occupied[self.prefix]
        self._occupied.take(self._sender)

    def linger(self) -> Linger | None:
        """Return a place for a request of which only the end is awaited; None where there is none."""
        lingering = self._places.lingering
        if not lingering.has(self._sender, MAX_LINGERING, self._limits.max_share):
            return None
        return Linger(lingering, self._sender)

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

    def _is_full(self) -> bool:
        return not self._places.occupied[self.prefix].has(self._sender, self._most, self._limits.max_share)

    def _end_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._places.reading.give_back(self._sender)

    def _free(self) -> None:
        if self._occupied is not None:
            self._occupied.give_back(self._sender)
            self._occupied = None


class Linger:
    """A place that is given back when the block is left."""

    __slots__ = ("_lingering", "_sender")

    def __init__(self, lingering: Supply, sender: str) -> None:
        self._lingering = lingering
        self._sender = sender

    def __enter__(self) -> None:
        self._lingering.take(self._sender)

    def __exit__(self, *_: object) -> None:
        self._lingering.give_back(self._sender)


_sender_of = lru_cache(maxsize=4096)(sender_of)
