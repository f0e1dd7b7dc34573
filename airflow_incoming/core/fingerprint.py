"""The deduplication hash: SHA-256 over chosen parameters, typed and length-prefixed.

No two different selections give the same bytes to hash: each part says what it is, how long it is,
and then itself. The parts come in the order of their parameters' names, so the order of choosing
doesn't matter. The names are part of it, so that another choice starts a new memory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from airflow_incoming.core.errors import BadDeduplicationHash
from airflow_incoming.core.flatten import MISSING, lookup
from airflow_incoming.core.integration import Deduplication

_ABSENT = b"-"
#: Printable ASCII without the comma, which would be the trace of a repeated header.
_OWN_HASH = re.compile(r"[ -+\--~]{1,128}")


def fingerprint(
    *,
    integration_id: UUID,
    deduplication: Deduplication,
    payload: dict[str, Any] | list[Any],
    headers: Mapping[str, str],
    query: str,
) -> str | None:
    """Return the hash (64 hex digits) of a request; None when none of the parameters is present.

    If the only parameter is a header, its value is the sender's own hash. Raises
    BadDeduplicationHash where that isn't 1 to 128 printable ASCII characters without a comma.
    """
    names = sorted(deduplication.parameters)
    if len(names) == 1 and names[0].startswith("header."):
        return _own_hash(integration_id, names[0], headers)
    parameters = _query_parameters(query) if any(name.startswith("query.") for name in names) else {}
    parts = [_part(name, payload, headers, parameters) for name in names]
    if all(part is _ABSENT for part in parts):
        return None
    named = [piece for name, part in zip(names, parts, strict=True) for piece in (name.encode(), part)]
    return _digest(b"parameters", integration_id, named)


def _own_hash(integration_id: UUID, name: str, headers: Mapping[str, str]) -> str | None:
    header = name.removeprefix("header.")
    value = headers.get(header)
    if value is None:
        return None
    if not _OWN_HASH.fullmatch(value):
        raise BadDeduplicationHash(
            f"Header {header}: must be sent once, with 1 to 128 printable ASCII characters without a comma."
        )
    return _digest(b"own", integration_id, [name.encode(), value.encode()])


def _digest(kind: bytes, integration_id: UUID, pieces: list[bytes]) -> str:
    digest = hashlib.sha256(kind + integration_id.bytes)
    for piece in pieces:
        digest.update(b"%d:" % len(piece) + piece)
    return digest.hexdigest()


def _part(
    name: str,
    payload: dict[str, Any] | list[Any],
    headers: Mapping[str, str],
    query: Mapping[str, list[str]],
) -> bytes:
    source, _, key = name.partition(".")
    if source == "body":
        value = lookup(payload, key)
        return _ABSENT if value is MISSING else _typed(value)
    if source == "header":
        return _typed(headers[key]) if key in headers else _ABSENT
    values = query.get(key)
    if values is None:
        return _ABSENT
    return _typed(values[0] if len(values) == 1 else values)


def _typed(value: Any) -> bytes:
    """Return a value's type and itself; equal bytes mean the same JSON value of the same type."""
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, float):
        return b"d" + repr(value).encode()
    # Python writes 1 and 1.0 differently, as it does the keys of objects in one order.
    return b"j" + json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _query_parameters(query: str) -> dict[str, list[str]]:
    # surrogateescape keeps bytes that aren't UTF-8 apart; the default would make them all one character.
    return parse_qs(query, keep_blank_values=True, errors="surrogateescape")
