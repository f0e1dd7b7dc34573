"""How long a request says that it is: its headers counted, and one honest Content-Length."""

from __future__ import annotations

from starlette.types import Scope

from airflow_incoming.core.errors import BodyTooLarge, HeadersTooLarge, RequestRejected


def check_headers(
    headers: list[tuple[bytes, bytes]], *, max_headers: int, max_header_bytes: int, max_body: int
) -> tuple[int | None, bool]:
    """Return the declared length, and whether the headers already say it in the one exact way.

    Raises HeadersTooLarge, RequestRejected, BodyTooLarge.
    """
    if len(headers) > max_headers:
        raise HeadersTooLarge(f"The request has more than {max_headers} headers.")
    size = 0
    lengths: list[bytes] = []
    encoded = False
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            encoded = True
    if size > max_header_bytes:
        raise HeadersTooLarge(f"The request headers are larger than {max_header_bytes} bytes.")
    if not lengths:
        return None, not encoded
    if encoded:
        raise RequestRejected("Content-Length and Transfer-Encoding exclude each other.")
    length = _parse_length(lengths)
    if length > max_body:
        raise BodyTooLarge(max_body)
    return length, len(lengths) == 1 and lengths[0].isdigit()


def _parse_length(values: list[bytes]) -> int:
    """Return the length that all Content-Length headers agree on (RFC 9112, 6.3)."""
    said = {part.strip() for value in values for part in value.split(b",")}
    digits = said.pop()
    if said or not digits.isdigit():
        raise RequestRejected("Content-Length must be one whole number.")
    return int(digits[:19]) if len(digits) > 19 else int(digits)


def with_length(scope: Scope, headers: list[tuple[bytes, bytes]], length: int) -> Scope:
    """Return the scope with these headers and one exact Content-Length: Flask gets no body without it."""
    framing = (b"content-length", b"transfer-encoding")
    kept = [header for header in headers if header[0] not in framing]
    kept.append((b"content-length", b"%d" % length))
    return {**scope, "headers": kept}
