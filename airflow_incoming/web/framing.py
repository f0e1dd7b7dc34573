"""The head of a request made one thing to everybody behind it: each header once, and one honest length.

What is behind the guard reads repeated headers, white space around values and underscores in names each in
its own way; a header that a proxy has looked at must be the one that counts here. So must the framing: where
it may be understood in two ways, the bytes of one request could become another one.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import NamedTuple

from starlette.types import Message, Scope, Send

from airflow_incoming.core.errors import BodyTooLarge, HeadersTooLarge, RequestRejected

Headers = list[tuple[bytes, bytes]]

#: ASGI has no point in those that are no text on the wire: "2.0" is somebody's who says so in HTTP/1.
_BINARY_VERSIONS = ("2", "3")
_VERSIONS = ("1.1", "1.0", *_BINARY_VERSIONS)
_LABEL = rb"(?:[^\x00-\x2c./:-@\[-^`{-\x7f]{1,63})"
#: A name, an IPv4 or an IPv6 address; a port. In names what isn't ASCII is allowed, and nothing at all is.
_HOST = re.compile(
    rb"(?:%s(?:\.%s)*\.?|\[[0-9a-fA-F.]*:[0-9a-fA-F:.]*\])?(?::[0-9]{0,5})?" % (_LABEL, _LABEL)
)


class InvalidHTTP(RequestRejected):
    """The request isn't valid HTTP."""


class Head(NamedTuple):
    """Headers of which each name is there once, and the declared length.

    ``exact``: the headers say the length already in the one exact way, or there is no body. ``last``: they
    ask for another protocol. Nobody here speaks one, and a server may take for the next request what is the
    body of this one (RFC 9110, 7.8, leaves it this one's), so the connection must end with the answer. The
    Upgrade is left out then, so that nobody behind follows it.
    """

    headers: Headers
    length: int | None
    exact: bool
    last: bool


def read_head(scope: Scope, *, max_headers: int, max_header_bytes: int, max_body: int) -> Head:
    """Return the head of a request.

    Raises HeadersTooLarge, BodyTooLarge, and InvalidHTTP, after which nothing more of the connection may
    be believed.
    """
    headers: Headers = scope["headers"]
    if len(headers) > max_headers:
        raise HeadersTooLarge(f"The request has more than {max_headers} headers.")
    fields = dict(headers)
    repeated = len(fields) < len(headers)
    names = b"".join(fields)
    size = sum(map(len, chain.from_iterable(headers))) if repeated else len(names + b"".join(fields.values()))
    if size > max_header_bytes:
        raise HeadersTooLarge(f"The request headers are larger than {max_header_bytes} bytes.")
    if repeated or b"_" in names or _has_padded(headers):
        fields = _each_once(headers)
        headers = list(fields.items())
    _check_version(fields, scope.get("http_version", "2"))
    chunked = b"transfer-encoding" in fields
    last = b"upgrade" in fields or scope["method"] == "CONNECT"
    if b"upgrade" in fields:
        headers = [header for header in headers if header[0] != b"upgrade"]
    said = fields.get(b"content-length")
    if said is None:
        if chunked:
            _check_coding(fields[b"transfer-encoding"], scope)
            headers = list(headers)  # a server may go on to fill its own, with what isn't meant to be here
        return Head(headers, None, not chunked, last)
    if chunked:
        raise InvalidHTTP("Content-Length and Transfer-Encoding exclude each other.")
    exact = said.isdigit()
    length = int(said) if exact and len(said) < 20 else _parse_length(said)
    if length > max_body:
        raise BodyTooLarge(max_body)
    return Head(headers, length, exact, last)


def _has_padded(headers: Headers) -> bool:
    """Tell whether a value has anything to strip.

    Where it hasn't, CPython's ``strip`` returns the very same object, which is cheap. Where another Python
    doesn't, the headers are made new for nothing, and are the same.
    """
    return bool([value for _, value in headers if value.strip() is not value])


def _each_once(headers: Headers) -> dict[bytes, bytes]:
    """Return the headers as everybody shall read them.

    White space around a value is no part of it (RFC 9112, 5.1). The values of a repeated name are one list
    (RFC 9110, 5.3), of cookies with the semicolon (RFC 6265, 5.4): what must not be a list, such as a
    credential, isn't valid then. Names with an underscore are left out, as proxies do: where others take it
    for a hyphen, a stranger could say what only the proxy in front may say.
    """
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if b"_" in name:
            continue
        value = value.strip(b" \t")
        if name in fields:
            value = (b"; " if name == b"cookie" else b", ").join((fields[name], value))
        fields[name] = value
    return fields


def _check_version(fields: dict[bytes, bytes], version: str) -> None:
    """Refuse versions that nobody speaks here, and HTTP/1.1 without one valid Host (RFC 9112, 3.2)."""
    host = fields.get(b"host")
    if version == "1.1" and host is None:
        raise InvalidHTTP("The Host header is missing.")
    if version not in _VERSIONS:
        raise InvalidHTTP("Of HTTP/1 only the versions 1.0 and 1.1 are understood.")
    if host is not None and _HOST.fullmatch(host) is None:  # two of them are a list by now
        raise InvalidHTTP("The Host header must be sent once, with a host and maybe a port.")


def _check_coding(coding: bytes, scope: Scope) -> None:
    """Refuse all transfer encodings but chunked: others may find another end (RFC 9112, 6.1)."""
    if coding.lower() != b"chunked":
        raise InvalidHTTP("Of transfer encodings only one, chunked, is understood.")
    if scope.get("http_version") == "1.0":
        raise InvalidHTTP("HTTP/1.0 knows no Transfer-Encoding.")


def _parse_length(said: bytes) -> int:
    """Return the length that all Content-Length headers agree on (RFC 9112, 6.3)."""
    different = {part.strip(b" \t") for part in said.split(b",")}
    digits = different.pop()
    if different or not digits.isdigit():
        raise InvalidHTTP("Content-Length must be one whole number.")
    return int(digits[:19]) if len(digits) > 19 else int(digits)


def texts_of(headers: Headers) -> dict[str, str]:
    """Return headers as text, by name; nearly always all are UTF-8."""
    try:
        return {name.decode("latin-1"): value.decode() for name, value in headers}
    except UnicodeDecodeError:
        return {name.decode("latin-1"): text_of(value) for name, value in headers}


def text_of(value: bytes) -> str:
    """Return a header's value as text: in UTF-8 where it is that, else in ISO-8859-1, which anything is."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def with_length(headers: Headers, length: int) -> Headers:
    """Return the headers with one exact Content-Length: Flask gets no body without it."""
    framing = (b"content-length", b"transfer-encoding")
    kept = [header for header in headers if header[0] not in framing]
    kept.append((b"content-length", b"%d" % length))
    return kept


def closing(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that ends the connection with the answer."""
    if scope.get("http_version") in _BINARY_VERSIONS:
        return send

    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message.get("headers", ()) if header[0].lower() != b"connection"]
            message = {**message, "headers": [*kept, (b"connection", b"close")]}
        await send(message)

    return send_closing
