"""Parameter names: ``body.order.id``, ``header.x-request-id``, ``query.source``."""

from __future__ import annotations

import re

MAX_DEDUPLICATION_PARAMETERS = 5
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
#: Words in front of ``key`` that make it a name, by which senders tell requests and things apart.
NAMING_KEYS = (
    *("idempotency", "deduplication", "dedup", "dedupe", "event", "routing", "partition", "ordering"),
    *("message", "request", "correlation", "group", "object", "project", "issue", "business", "surrogate"),
)
#: Sensitive wherever they stand in a name.
_PARTS = (
    r"authorization|cookie|signature|secret|token|passw|passphrase|passcode|credential|session|jwt|assertion"
    r"|oidc|dpop|saml|hmac|pwd|client[-_]?cert|(?:api|access|private|auth|app|master|shared|account)[-_]?key"
)
#: Sensitive as a word of their own.
_WORDS = r"auth|authentication|bearer|key|sig|sign|jws|pass|pw|otp|totp|csrf|xsrf|cert|certificate|wsse"
_SENSITIVE = re.compile(rf"{_PARTS}|(?<![a-z0-9])(?:{_WORDS})(?![a-z0-9])|\Acode\Z")
_HARMLESS = re.compile(rf"(?<![a-z0-9])(?:(?:{'|'.join(NAMING_KEYS)})[-_.]?key|cert[-_]url)(?![a-z0-9])")
_NEXT_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


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
    """Tell whether a header (lower-cased name) may carry a credential, cookie, certificate or signature.

    Only its name is looked at. ``key`` is sensitive but behind :data:`NAMING_KEYS`.
    """
    return _SENSITIVE.search(_HARMLESS.sub("", name)) is not None


def is_sensitive_query(name: str) -> bool:
    """Tell the same of a query parameter, whose name may be written in camel case."""
    return is_sensitive_header(_NEXT_WORD.sub("-", name).lower())
