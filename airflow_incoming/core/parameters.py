"""Parameter names: ``body.order.id``, ``header.x-request-id``, ``query.source``."""

from __future__ import annotations

import re

MAX_DEDUPLICATION_PARAMETERS = 5
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_SENSITIVE = re.compile(
    r"authorization|cookie|signature|secret|token|passw|api[-_]?key|credential|session|(^|[-_])(auth|hmac)([-_]|$)"
)


def validate_parameter(value: object) -> str:
    """Return a parameter name in its one spelling (header names in lower case). Raises ValueError.

    ``body.`` is followed by a flattened path (see :mod:`airflow_incoming.core.flatten`), ``header.``
    by a header's name, ``query.`` by a query parameter's name.
    """
    if not isinstance(value, str) or len(value) > 512 or not value.isprintable():
        raise ValueError("must be a parameter such as body.order.id, of at most 512 printable characters")
    source, dot, name = value.partition(".")
    if not dot or not name or source not in ("body", "header", "query"):
        raise ValueError(f"must begin with body., header. or query. and name a field, not {value!r}")
    if source == "header":
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        return f"header.{name.lower()}"
    return value


def validate_passed_parameter(name: object) -> str:
    """Return the full name of a parameter that a DAG gets; ``order.id`` is short for ``body.order.id``.

    Raises ValueError, also for ``query.``, which an event doesn't carry.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name of a parameter; write order.id")
    if name.startswith("query."):
        raise ValueError(
            f"{name}: an event doesn't carry its query string. Write body.{name} if that is a field of the "
            "payload"
        )
    return validate_parameter(name if name.startswith(("body.", "header.")) else f"body.{name}")


def is_sensitive_header(name: str) -> bool:
    """Tell whether a header (lower-cased name) may carry a credential, cookie or signature."""
    return _SENSITIVE.search(name) is not None
