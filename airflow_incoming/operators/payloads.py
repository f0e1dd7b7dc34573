"""Payloads as authors have them: Python values, JSON text, files. All are read by the receivers' rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from airflow_incoming.core.errors import IncomingError, RequestRejected
from airflow_incoming.core.payload import parse_json

_PYTHON_TEXT = ("{'", "[{'", "['", "{None", "[None")


class UnusablePayload(IncomingError):
    """The payload can't be used.

    ``detail`` says where, and what to change; another try with the same payload can't help.
    """

    code = "unusable_payload"


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON object or array: its text, and with its numbers as they are."""

    body: bytes
    value: dict[str, Any] | list[Any]


def read_payload(value: object) -> Payload:
    """Return the payload that a value stands for: dict, list, JSON text, or what XCom holds.

    Dates and times become ISO 8601, UUIDs text, decimals numbers. Raises UnusablePayload.
    """
    if value is None:
        raise UnusablePayload("payload is None: the task or template that it comes from returned nothing.")
    if isinstance(value, bytes):
        return _parse("payload", value)
    if isinstance(value, str):
        return _parse("payload", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping | Sequence):
        return _parse("payload", _dump(value))
    raise UnusablePayload(
        f"payload must be a dict, a list, or the text of a JSON object or array, not {type(value).__name__}."
    )


def read_payload_file(path: str, *, max_size: int) -> Payload:
    """Return the payload in a file of JSON in UTF-8, of at most ``max_size`` bytes.

    Raises UnusablePayload, and OSError where the file can't be read (yet).
    """
    file = Path(path)
    with file.open("rb") as content:
        body = content.read(max_size + 1)
    if len(body) > max_size:
        raise UnusablePayload(
            f"payload_file {path} has more than {max_size} bytes ([incoming] max_body). Read it in a task "
            "and map this operator over its parts: .expand(payload=…)."
        )
    return _parse(f"payload_file {path}", body)


def as_text(value: object) -> str:
    """Return JSON text that means the same payload, in ASCII; of what is none, what it looks like in Python.

    :func:`read_payload` says what is wrong with the latter.
    """
    try:
        return _dump(value).decode()
    except UnusablePayload:
        return ascii(value)


def _parse(what: str, body: bytes) -> Payload:
    try:
        return Payload(body, parse_json(body))
    except RequestRejected as error:
        detail = error.detail.replace("The request body", "It")
        hint = ""
        if body.lstrip().decode(errors="replace").startswith(_PYTHON_TEXT):
            hint = (
                " It looks like Python's way to print a value. Give the value itself (task.output), or "
                "write the template with a filter: {{ … | tojson }}."
            )
        raise UnusablePayload(f"{what} can't be used. {detail}{hint}") from error


def _dump(value: object) -> bytes:
    try:
        return json.dumps(value, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UnusablePayload(
            f"payload is no JSON: {error}. Use text, numbers, booleans, None, lists and dicts whose keys are "
            "text."
        ) from error


def _plain(value: object) -> object:
    """Return what JSON has for a value that ``json`` doesn't know."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)  # what XCom gives of a mapped task
    raise TypeError(f"a {type(value).__name__} can't be written as JSON")
