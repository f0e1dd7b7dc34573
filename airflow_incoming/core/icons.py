"""Uploaded icons: bytes of a known type, which nobody here looks into.

What a picture may do is decided where it is shown: by ``<img>`` alone, and served with a policy under which
it runs and fetches nothing, even when it is opened by itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from airflow_incoming.core.errors import InvalidConfiguration

#: Bytes of an uploaded file.
MAX_ICON = 48 * 1024
UPLOAD_PREFIX = "upload-"

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Icon:
    """A picture, under the name that configurations know it by."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


def read_icon(data: bytes) -> Icon:
    """Return an uploaded PNG or SVG, named by its digest.

    Raises InvalidConfiguration with the path ("icon",), which says what is wrong with the file.
    """
    if not data:
        raise _refused("the file is empty")
    if len(data) > MAX_ICON:
        raise _refused(f"the file is larger than {MAX_ICON // 1024} KiB; make it smaller")
    if data.startswith(_PNG):
        content_type = "image/png"
    elif data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<svg" in data:
        content_type = "image/svg+xml"
    else:
        raise _refused("the file is neither a PNG nor an SVG picture")
    name = UPLOAD_PREFIX + hashlib.sha256(data).hexdigest()[:32]
    return Icon(name=name, content_type=content_type, content=data)


def _refused(problem: str) -> InvalidConfiguration:
    return InvalidConfiguration(("icon",), problem)
