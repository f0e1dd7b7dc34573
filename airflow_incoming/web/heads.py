"""Where a request's head ends and whose its body is, where uvicorn's httptools protocol gets both wrong.

*Trailers.* httptools hands them on as headers, and uvicorn appends them to the list that the application
has got, or is about to get: where head, body and trailers come in one segment, nobody behind the server
can tell them apart any more. But a trailer is no header (RFC 9110, 6.5.1).

*Upgrade.* At a request to upgrade, httptools stops where the head ends. Where uvicorn doesn't upgrade, the
rest of the segment is lost, and the next segment is read as another request: a body that looks like one is
answered like one. But a request whose Upgrade isn't followed is an ordinary one (RFC 9110, 7.8).
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import httptools

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
else:
    Base = object

_EVERYTHING = (b"",)
_SLASHES = re.compile(b"/{2,}")


class WholeHead(Base):
    """To be mixed into uvicorn's HttpToolsProtocol: requests below ``prefixes`` are read as they are meant.

    Others are left to uvicorn alone. In doubt a request is one of ours: it is read right, that is all.
    """

    prefixes: tuple[bytes, ...] = _EVERYTHING

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = Parser(self)
        #: The present head asks for an upgrade that isn't done, and is to be read again.
        self._asks_in_vain = False

    def on_headers_complete(self) -> None:
        """Begin the request with the headers up to here, unless its head has to be read again."""
        if self.prefixes != _EVERYTHING and not self._is_ours():
            super().on_headers_complete()
        elif self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._asks_in_vain = True
        else:
            super().on_headers_complete()
            self.headers = []  # what follows are trailers; the application has the other list

    def on_message_complete(self) -> None:
        """End the request, if it has begun."""
        if not self._asks_in_vain:
            super().on_message_complete()

    def take_ordinary_head(self) -> bytes | None:
        """Return once the head that asked in vain, without its ``Upgrade``; None where none did."""
        if not self._asks_in_vain:
            return None
        self._asks_in_vain = False
        method, version = self.parser.get_method(), self.parser.get_http_version().encode("ascii")
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _is_ours(self) -> bool:
        target = self.url if b"%" not in self.url else unquote_to_bytes(self.url)
        if b"//" in target:
            target = _SLASHES.sub(b"/", target)
        return any(prefix in target for prefix in self.prefixes)


class Parser(httptools.HttpRequestParser):
    """Reads on where httptools stops."""

    def __init__(self, protocol: WholeHead) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        with suppress(AttributeError):  # httptools < 0.6.3
            self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def feed_data(self, data: Any) -> None:
        """Read a segment of bytes. Raises what httptools does, HttpParserUpgrade only for what isn't ours."""
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
