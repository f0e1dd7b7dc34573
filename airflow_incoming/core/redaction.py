"""What is kept of a request beside its body: no credentials, and only text that can be stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, unquote_plus

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
#: The id of an endpoint, as the last part of a path: base32 of 128 bits, so that its end is one of eight.
_ENDPOINT = re.compile(r"/[a-z2-7]{25}[aeimquy4](?![A-Za-z0-9])")
#: Characters of an id, at least.
_ID = 26
#: Characters of a value in which there may be a secret: ``//a@``.
_SHORTEST = 4
#: Values in one text that are looked into; nobody sends that many URLs. More are replaced unseen.
_NESTED = 64
#: URLs inside of URLs that are looked into; what is deeper is no use to anybody.
_DEPTH = 3

_is_sensitive = lru_cache(maxsize=1024)(is_sensitive_header)
_is_sensitive_query = lru_cache(maxsize=1024)(is_sensitive_query)


def redact(headers: Mapping[str, str], *, endpoint_id: str) -> dict[str, str]:
    """Return a request's headers as they may be stored: what may be a credential is replaced.

    That is the value of a header whose name says so, whatever looks like a JWT or an API key, in a URL its
    user, the parameters whose names say so and the ids of endpoints; that of this one wherever it stands.
    Whoever knows the URL of an endpoint that is open may send to it.
    """
    kept = {name: REDACTED if _is_sensitive(name) else value for name, value in headers.items()}
    together = "\n".join(kept.values())
    if _may_hold_secrets(together):
        kept = {name: _redact_value(value) for name, value in kept.items()}
    if "%" in together or _names_endpoint(together, endpoint_id):
        kept = {name: redact_endpoints(value, endpoint_id) for name, value in kept.items()}
    return {storable_text(name): storable_text(value) for name, value in kept.items()}


def redact_query(query: str, *, endpoint_id: str | None) -> str:
    """Return the query string of a request to an endpoint as it may be stored, by the same rules."""
    if not query:
        return query
    return storable_text(redact_endpoints(_redact_pairs(query, _DEPTH), endpoint_id))


def endpoint_in(path: str) -> str | None:
    """Return what looks like the id of an endpoint in a path."""
    found = _ENDPOINT.search(path)
    return None if found is None else found[0][1:]


def redact_endpoints(text: str, endpoint_id: str | None) -> str:
    """Return text without this endpoint's id, and what looks like one in a path; encoded ones, too."""
    if _names_endpoint(text, endpoint_id):
        text = _ENDPOINT.sub(f"/{REDACTED}", text.replace(endpoint_id or REDACTED, REDACTED))
    if not _names_encoded_endpoint(text, endpoint_id):  # at once, for each piece by itself takes long
        return text
    pieces = _BETWEEN_PAIRS.split(text)
    pieces[::2] = [_redact_encoded_endpoint(piece, endpoint_id) for piece in pieces[::2]]
    return "".join(pieces)


def cut_query(query: str, most: int = LOOKED_AT) -> str:
    """Return so much of a query as is looked at, without a part of a pair unless there is but one.

    Redacting a long one takes long; and half a credential isn't known for one.
    """
    if len(query) <= most:
        return query
    end = max(query.rfind(separator, 0, most) for separator in "&;")
    return query[: most if end < 0 else end]


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
        ("=" in text and ("?" in text or "#" in text))
        or ("@" in text and "//" in text)
        or "eyJ" in text
        or "inc_" in text
        or "earer" in text
        or "EARER" in text
    )


def _names_endpoint(text: str, endpoint_id: str | None) -> bool:
    return (endpoint_id is not None and endpoint_id in text) or _ENDPOINT.search(text) is not None


def _names_encoded_endpoint(text: str, endpoint_id: str | None) -> bool:
    for _ in range(_DEPTH):
        text, before = unquote(text) if "%" in text else text, text
        if text == before:
            return False
        if _names_endpoint(text, endpoint_id):
            return True
    return False


def _redact_encoded_endpoint(piece: str, endpoint_id: str | None) -> str:
    name, equals, value = piece.rpartition("=")
    if len(value) >= min(_ID, len(endpoint_id or "") or _ID) and _names_encoded_endpoint(value, endpoint_id):
        return f"{name}{equals}{REDACTED}"
    return piece


def _redact_value(value: str, depth: int = _DEPTH) -> str:
    if _SECRET.search(value):
        return REDACTED
    value = _USER_INFO.sub(f"//{REDACTED}@", value)
    at = min((place for place in map(value.find, "?#") if place >= 0), default=len(value))
    return value[:at] + _redact_pairs(value[at:], depth)


def _redact_pairs(text: str, depth: int) -> str:
    pieces = _BETWEEN_PAIRS.split(text)
    # Decoded at once: each value by itself takes long.
    looks = iter(range(_NESTED)) if _may_hold_secrets(_plain(text)) else None
    pieces[::2] = [_redact_pair(piece, depth, looks) for piece in pieces[::2]]
    return "".join(pieces)


def _redact_pair(pair: str, depth: int, looks: Iterator[int] | None) -> str:
    name, equals, value = pair.partition("=")
    if not value:
        return REDACTED if looks is not None and _SECRET.search(name) else pair
    if (
        not depth
        or _is_sensitive_query(_plain(name))
        or (looks is not None and len(value) >= _SHORTEST and _holds_secret(_plain(value), depth, looks))
    ):
        return f"{name}{equals}{REDACTED}"
    return pair


def _holds_secret(plain: str, depth: int, looks: Iterator[int]) -> bool:
    """Tell whether something in a decoded value would be replaced; of what is beyond counting, it is said."""
    if not _may_hold_secrets(plain):
        return False
    return next(looks, None) is None or _redact_value(plain, depth - 1) != plain


def _plain(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text
