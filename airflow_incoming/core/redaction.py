"""What is kept of a request beside its body: no credentials, and only text that can be stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_plus

from airflow_incoming.core.parameters import is_sensitive_header, is_sensitive_query

REDACTED = "[redacted]"
#: Characters of a query that are looked at. Fewer are kept, which is why its only pair may be cut.
LOOKED_AT = 8192
#: Characters of a parameter's name that are shown.
NAME_SHOWN = 200

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
#: A JWT (or JWE), an API key of ours, what a scheme announces: secrets, whatever they are called.
_SECRET = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+|inc_[a-z2-7]{16}_[A-Za-z0-9_-]{20}"
    r"|\A\s*(?:[Bb]earer|BEARER)\s+\S"
)
_USER_INFO = re.compile(r"//[^/?#@\s]+@")
_BETWEEN_PAIRS = re.compile(r"([&;?#\s\"'<>]+)")
#: URLs inside of URLs that are looked into; what is deeper is no use to anybody.
_DEPTH = 3

_is_sensitive = lru_cache(maxsize=1024)(is_sensitive_header)
_is_sensitive_query = lru_cache(maxsize=1024)(is_sensitive_query)


def redact(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that may be stored: what may be a credential is replaced.

    That is the value of a header whose name says so, whatever looks like a JWT or an API key, and in
    a URL its user and the parameters whose names say so.
    """
    kept = {name: REDACTED if _is_sensitive(name) else value for name, value in headers.items()}
    if _may_hold_secrets("\n".join(kept.values())):
        kept = {name: _redact_value(value) for name, value in kept.items()}
    return {storable_text(name): storable_text(value) for name, value in kept.items()}


def redact_query(query: str) -> str:
    """Return a query string that may be stored, redacted by the same rules."""
    return storable_text(_redact_pairs(query, _DEPTH)) if query else query


def cut_query(query: str) -> str:
    """Return so much of a query as is looked at, without a part of a pair unless there is but one.

    Redacting a long one takes long; and half a credential isn't known for one.
    """
    if len(query) <= LOOKED_AT:
        return query
    end = max(query.rfind(separator, 0, LOOKED_AT) for separator in "&;")
    return query[: LOOKED_AT if end < 0 else end]


def first_redacted(parameters: Iterable[str], headers: Mapping[str, str], query: str) -> str | None:
    """Return the first parameter that was redacted, in part or whole; None where all were kept."""
    values = {f"header.{name}": value for name, value in headers.items() if REDACTED in value}
    if REDACTED in query:
        values |= {f"query.{name}": value for name, value in parse_qsl(query) if REDACTED in value}
    return next((name for name in parameters if name in values), None)


def passed_on(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the chosen headers that are there, never a sensitive one."""
    return {name: headers[name] for name in names if name in headers and not _is_sensitive(name)}


def storable_text(text: str) -> str:
    """Return text that every database can hold: U+0000 and lone surrogates become U+FFFD.

    Only for what surrounds a payload: a payload is never changed, it is refused.
    """
    return text if text.isprintable() else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shown_name(name: str) -> str:
    """Return the name of a parameter as errors and logs show it: storable, and not endless."""
    shown = storable_text(name)
    return shown if len(shown) <= NAME_SHOWN else f"{shown[:NAME_SHOWN]}…"


def _may_hold_secrets(text: str) -> bool:
    """Tell quickly whether :func:`_redact_value` may change something; of most requests it would nothing."""
    return (
        "?" in text
        or "#" in text
        or "@" in text
        or "eyJ" in text
        or "inc_" in text
        or "earer" in text
        or "EARER" in text
    )


def _redact_value(value: str, depth: int = _DEPTH) -> str:
    if _SECRET.search(value):
        return REDACTED
    value = _USER_INFO.sub(f"//{REDACTED}@", value)
    at = min((place for place in map(value.find, "?#") if place >= 0), default=len(value))
    return value[:at] + _redact_pairs(value[at:], depth)


def _redact_pairs(text: str, depth: int) -> str:
    pieces = _BETWEEN_PAIRS.split(text)
    pieces[::2] = [_redact_pair(piece, depth) for piece in pieces[::2]]
    return "".join(pieces)


def _redact_pair(pair: str, depth: int) -> str:
    name, equals, value = pair.partition("=")
    if not value:
        return REDACTED if _SECRET.search(name) else pair
    plain = unquote_plus(value)
    if (
        _is_sensitive_query(unquote_plus(name))
        or not depth
        or (_may_hold_secrets(plain) and _redact_value(plain, depth - 1) != plain)
    ):
        return f"{name}{equals}{REDACTED}"
    return pair
