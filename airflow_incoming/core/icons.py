"""Uploaded icons, made harmless: what isn't known to be safe is left out or refused.

An SVG is read without DTD and written anew from lists of allowed elements and attributes, so that
nothing of the original text is left. A PNG keeps the chunks that draw it and nothing else.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.svg import SvgRefused, clean_svg

#: Bytes of an uploaded file.
MAX_ICON = 48 * 1024
#: Pixels along each side of a PNG.
MAX_PIXELS = 512
UPLOAD_PREFIX = "upload-"

_PNG = b"\x89PNG\r\n\x1a\n"
#: The most that 512 × 512 pixels of 8 bytes unpack to, with a filter byte per row and interlacing.
_MAX_UNPACKED = 2 * MAX_PIXELS * (8 * MAX_PIXELS + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Icon:
    """A harmless picture, under the name that configurations know it by."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


def clean_icon(data: bytes) -> Icon:
    """Return an uploaded PNG or SVG as a picture that can do no harm.

    Raises InvalidConfiguration with the path ("icon",), which says what is wrong with the file.
    """
    if not data:
        raise _refused("the file is empty")
    if len(data) > MAX_ICON:
        raise _refused(f"the file is larger than {MAX_ICON // 1024} KiB; make it smaller")
    if data.startswith(_PNG):
        content, content_type = _clean_png(data), "image/png"
    elif data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        try:
            content, content_type = clean_svg(data), "image/svg+xml"
        except SvgRefused as refused:
            raise _refused(str(refused)) from refused
    else:
        raise _refused("the file is neither a PNG nor an SVG picture")
    name = UPLOAD_PREFIX + hashlib.sha256(content).hexdigest()[:32]
    return Icon(name=name, content_type=content_type, content=content)


def _clean_png(data: bytes) -> bytes:
    kept = [_PNG]
    pixels: list[bytes] = []
    names: list[bytes] = []
    for name, body, chunk in _chunks(data):
        if not names and (name != b"IHDR" or len(body) != 13):
            raise _refused("the PNG does not begin with its header")
        if name == b"IHDR":
            _check_size(*struct.unpack(">II", body[:8]))
        if name == b"IDAT":
            pixels.append(body)
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(chunk)
        elif not name[0] & 0x20:
            raise _refused("the PNG has a part that no viewer knows")
        names.append(name)
    if names.count(b"IHDR") != 1 or names[-1] != b"IEND":
        raise _refused("the PNG is cut off or put together wrongly")
    _check_pixels(b"".join(pixels))
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield name, content and whole of each chunk, up to IEND, which has to be the end of the file."""
    position = len(_PNG)
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        chunk = data[position:end]
        if len(chunk) < 12 or len(chunk) != end - position:
            raise _refused("the PNG is cut off")
        name, body, crc = chunk[4:8], chunk[8:-4], chunk[-4:]
        if zlib.crc32(name + body) != int.from_bytes(crc, "big"):
            raise _refused("the PNG is damaged: a checksum is wrong")
        yield name, body, chunk
        position = end
        if name == b"IEND" and position != len(data):
            raise _refused("something follows the end of the PNG; save it anew without it")


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= MAX_PIXELS and 0 < height <= MAX_PIXELS):
        raise _refused(f"the PNG has {width} × {height} pixels; at most {MAX_PIXELS} × {MAX_PIXELS} fit")


def _check_pixels(packed: bytes) -> None:
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(packed, _MAX_UNPACKED + 1)
    except zlib.error as error:
        raise _refused("the PNG is damaged: its pixels can't be unpacked") from error
    if not unpacked or not unpacking.eof or len(unpacked) > _MAX_UNPACKED:
        raise _refused("the PNG is damaged: it has too few or too many pixels")


def _refused(problem: str) -> InvalidConfiguration:
    return InvalidConfiguration(("icon",), problem)
