"""Where a request's head ends and whose its body is, where uvicorn's httptools protocol gets both wrong.

*Trailers.* httptools hands them on as headers, and uvicorn appends them to the list that the application
has got, or is about to get, for as long as they come: where head, body and trailers come in one segment,
nobody behind the server can tell them apart any more. But a trailer is no header (RFC 9110, 6.5.1).

*Upgrade.* At a request to upgrade, httptools stops where the head ends. Where uvicorn doesn't upgrade, the
rest of the segment is lost, and the next segment is read as another request: a body that looks like one is
answered like one. But a request whose Upgrade isn't followed is an ordinary one (RFC 9110, 7.8). Whose path
the first of the two has doesn't matter: the second one is ours. At CONNECT it stops, too, and what follows is
no request either (RFC 9110, 9.3.6).

*Errors.* uvicorn answers 400 at once to what it can't read, also in place of the answer to the whole request
before, which is accepted nevertheless. But answers come in the order of requests (RFC 9112, 9.3.2).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from airflow_incoming.web.paths import prefix_of

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
else:
    Base = object

#: Trailers of one request; nobody here reads any.
MAX_TRAILERS = 100
#: Bytes behind a head that are no body: framing and trailers.
MAX_BEYOND = 128 * 2**10
#: Bytes of framing that each byte of a chunked body may cost: a chunk of one has five.
FRAMING = 16
_EVERYTHING = ("",)


class WholeHead(Base):
    """To be mixed into uvicorn's HttpToolsProtocol: no byte of a request becomes another one of ours.

    Trailers and errors are handled for requests below ``prefixes`` alone. ``mounted_at`` is the root path
    that the application gives itself.
    """

    prefixes: tuple[str, ...] = _EVERYTHING
    mounted_at: str = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = Parser(self)
        #: The present head asks for an upgrade that isn't done, and is to be read again.
        self._asks_in_vain = False
        #: Of the requests that were begun and aren't answered, one is ours.
        self._owes = False
        #: What was begun before the latest, if it is unanswered still.
        self._before: RequestResponseCycle | None = None
        #: Bytes behind the present request's head that were no body; None where that doesn't matter.
        self._beyond: int | None = None

    def data_received(self, data: bytes) -> None:
        """Parse; close where a request goes on without saying anything."""
        if self._beyond is not None:
            self._beyond += len(data)
        super().data_received(data)
        if self._beyond is not None and self._beyond > MAX_BEYOND:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Begin the request with the headers up to here, unless its head has to be read again."""
        connects = self.parser.get_method() == b"CONNECT"
        if self.parser.should_upgrade() and not connects and not self._should_upgrade():
            self._asks_in_vain = True
            return
        before: RequestResponseCycle | None = self.cycle
        super().on_headers_complete()
        if connects and not self._should_upgrade():
            self.cycle.keep_alive = False
        self._before = before if before is not None and not before.response_complete else None
        ours = self._is_ours()
        self._owes = ours or (self._before is not None and self._owes)
        if ours:
            self.headers = _Trailers()  # the application has the other list
            self._beyond = 0

    def on_body(self, body: bytes) -> None:
        """Take what was counted for framing, as far as it may be."""
        if self._beyond is not None:
            self._beyond = max(0, self._beyond - (1 + FRAMING) * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, if it has begun."""
        self._beyond = None
        if not self._asks_in_vain:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what can't be read, unless a whole request of ours is unanswered: then that alone is."""
        if self._owes and self._before is not None and self._waits():
            self.pipeline.popleft()  # the latest, whose turn never came
            self.cycle, self._before = self._before, None
        if not self._owes or self.cycle.response_complete or self.cycle.more_body:
            super().send_400_response(msg)
        else:
            self.cycle.keep_alive = False
            self.flow.pause_reading()

    def take_ordinary_head(self) -> bytes | None:
        """Return once the head that asked in vain, without its ``Upgrade``; None where none did."""
        if not self._asks_in_vain:
            return None
        self._asks_in_vain = False
        method, version = self.parser.get_method(), self.parser.get_http_version().encode("ascii")
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _should_upgrade(self) -> bool:
        """Tell whether a websocket begins: never at CONNECT (RFC 6455, 4.1), and there is none of ours."""
        may = super()._should_upgrade() and self.parser.get_method() != b"CONNECT"
        return may and not self._is_ours()

    def _waits(self) -> bool:
        """Tell whether the latest request waits for the answer to the one before, and isn't whole."""
        return self.cycle.more_body and bool(self.pipeline) and self.pipeline[0][0] is self.cycle

    def _is_ours(self) -> bool:
        if self.prefixes == _EVERYTHING:
            return True
        path = unquote((httptools.parse_url(self.url).path or b"").decode("latin-1"))
        scope = {
            "type": "http",
            "path": self.root_path + path,
            "root_path": self.mounted_at or self.root_path,
        }
        return prefix_of(scope, self.prefixes) is not None


class _Trailers(list[tuple[bytes, bytes]]):
    """Keeps none. Raises ValueError, which ends the reading, where there are too many."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    def append(self, _: tuple[bytes, bytes], /) -> None:
        """Count one."""
        self._seen += 1
        if self._seen > MAX_TRAILERS:
            raise ValueError("too many trailers")


class Parser(httptools.HttpRequestParser):
    """Reads on where httptools stops."""

    def __init__(self, protocol: WholeHead) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        with suppress(AttributeError):  # httptools < 0.6.3
            self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def feed_data(self, data: Any) -> None:
        """Read bytes. Raises what httptools does, HttpParserUpgrade only for websockets or at CONNECT."""
        try:
            _feed(self, data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(upgrade, data)

    def _go_on(self, upgrade: httptools.HttpParserUpgrade, data: bytes) -> None:
        rest = memoryview(data)
        while (head := self._protocol.take_ordinary_head()) is not None:
            # A new one: the old one may be past a "Connection: close".
            parser = self._protocol.parser = Parser(self._protocol)
            rest = rest[upgrade.args[0] :]
            try:
                _feed(parser, head)
                _feed(parser, rest)
            except httptools.HttpParserUpgrade as another:
                upgrade = another
            else:
                return
        raise upgrade


_feed = httptools.HttpRequestParser.feed_data
