"""What is kept of a request beside its body: no credentials, and only text that can be stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

from airflow_incoming.core.parameters import is_sensitive_header

REDACTED = "[redacted]"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_is_sensitive = lru_cache(maxsize=1024)(is_sensitive_header)


def redact(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that may be stored: what may be a credential is replaced."""
    return {
        storable_text(name): REDACTED if _is_sensitive(name) else storable_text(value)
        for name, value in headers.items()
    }


def redact_query(query: str) -> str:
    """Return a query string that may be stored: values whose name says credential are replaced."""
    if "=" not in query:
        return storable_text(query)
    pairs = (pair.partition("=") for pair in query.split("&"))
    return storable_text(
        "&".join(
            f"{name}={REDACTED}"
            if equals and _is_sensitive(unquote_plus(name).lower())
            else name + equals + value
            for name, equals, value in pairs
        )
    )


def passed_on(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the chosen headers that are there, never a sensitive one."""
    return {name: headers[name] for name in names if name in headers and not _is_sensitive(name)}


def storable_text(text: str) -> str:
    """Return text that every database can hold: U+0000 and lone surrogates become U+FFFD.

    Only for what surrounds a payload: a payload is never changed, it is refused.
    """
    return text if text.isprintable() else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
