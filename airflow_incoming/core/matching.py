"""Does an event carry this parameter with this value? As people type it: ``body.order.id`` is ``42``.

A value is typed without saying its type: ``42`` finds the number and the text, ``true`` the boolean
and the text. In double quotes it is text alone, left empty it is anything. :class:`Clue` is the same
question asked roughly, so that a database can skip rows: it never misses, and may be wrong otherwise.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast
from urllib.parse import parse_qs

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.flatten import MISSING, lookup, split_path
from airflow_incoming.core.parameters import validate_parameter
from airflow_incoming.core.payload import HIGHEST_FLOAT, LOWEST_FLOAT, MAX_INTEGER, MIN_INTEGER
from airflow_incoming.core.redaction import storable_text

MAX_VALUE = 1000

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+")
#: Above this many digits a float has several spellings, so no digits have to be there.
_EXACT_DIGITS = 15
_INDEX = re.compile(r"0|[1-9][0-9]*")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
_HARMLESS = re.compile(r'[^"\\/\x00-\x1f\x7f]+')

Source = Literal["body", "header", "query"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clue:
    """What a stored text must contain to match: all of ``words``, or something that may hide them.

    ``number``: the text may also spell the last word with an exponent. ``hidden_by`` is what every
    spelling of the words contains that isn't the words themselves.
    """

    words: tuple[str, ...] = ()
    number: str | None = None
    hidden_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterMatch:
    """One parameter and the value that is looked for; an empty ``text`` means any value."""

    name: str
    text: str = ""

    @property
    def source(self) -> Source:
        """Return the part of a request that the parameter is in."""
        return cast("Source", self.name.partition(".")[0])

    @property
    def key(self) -> str:
        """Return the parameter's path or name inside that part."""
        return self.name.partition(".")[2]


def parse_match(name: str, text: str) -> ParameterMatch:
    """Return what somebody typed; a name without a source is one of the body.

    Raises InvalidConfiguration whose path is ("parameter",) or ("value",).
    """
    name = name.strip()
    if not name.startswith(("body.", "header.", "query.")):
        name = f"body.{name}"
    try:
        name = validate_parameter(name)
    except ValueError as error:
        raise InvalidConfiguration(("parameter",), str(error)) from error
    text = text.strip()
    if len(text) > MAX_VALUE:
        raise InvalidConfiguration(("value",), f"must be at most {MAX_VALUE} characters")
    meant = _quoted(text) or text
    if any(storable_text(each) != each for each in (name, text, meant)):
        raise InvalidConfiguration(("value",), "contains characters that no event can contain")
    return ParameterMatch(name=name, text=text)


def matches(match: ParameterMatch, *, body: str, headers: Mapping[str, str], query: str) -> bool:
    """Tell whether an event's stored parts carry the parameter with the value."""
    if match.source == "header":
        value = headers.get(match.key, MISSING)
    elif match.source == "query":
        values = parse_qs(query, keep_blank_values=True).get(match.key, [])
        return any(is_value(value, match.text) for value in values)
    else:
        value = lookup(_READER.decode(body.removeprefix("\ufeff")), match.key)
    return value is not MISSING and is_value(value, match.text)


def clue(match: ParameterMatch) -> Clue:
    """Return what the stored text of the match's part must contain: JSON, or a query string."""
    value = _quoted(match.text) if match.source == "body" else None
    text = match.text if value is None else value
    if match.source == "body":
        return _body_clue(match, text, quoted=value is not None)
    words = tuple(word for word in (match.key, _quoted(text) or text) if word)
    if match.source == "query":
        plain = tuple(word for word in words if _UNRESERVED.fullmatch(word))
        return Clue(words=plain, hidden_by="%")
    # We wrote the headers as JSON ourselves: this much of ASCII stands for itself in every database.
    return Clue(words=tuple(word for word in words if word.isascii() and _HARMLESS.fullmatch(word)))


def _body_clue(match: ParameterMatch, text: str, *, quoted: bool) -> Clue:
    words = [segment for segment in split_path(match.key) if segment and not _INDEX.fullmatch(segment)]
    number = None
    if quoted or not _NUMBER.fullmatch(text):
        if quoted or not text.startswith(("{", "[")):
            words += [text] if text else []
    elif _is_exact(text):
        number = _digits(text)
    written = (*words, number or "")
    # Any character may be written as \uXXXX, but only these in another way, too.
    harmless = all(_HARMLESS.fullmatch(word) for word in written if word)
    return Clue(words=tuple(words), number=number, hidden_by="\\u" if harmless else "\\")


def is_value(value: Any, text: str) -> bool:
    """Tell whether a parameter's value is what was typed; an empty ``text`` means any value."""
    if not text:
        return True
    if isinstance(value, str):
        return value in (text, _quoted(text))
    if value is None or isinstance(value, bool):
        return json.dumps(value) == text
    if isinstance(value, int | float | Decimal):
        return _is_number(value, text)
    try:
        return _canonical(value) == _canonical(_READER.decode(text))
    except (ValueError, RecursionError):
        return False


def is_same_large_number(sent: str, text: str) -> bool:
    """Tell whether both spell one number that a conf has as text, because Airflow can't carry it."""
    if not (_NUMBER.fullmatch(sent) and _NUMBER.fullmatch(text)):
        return False
    if _INTEGER.fullmatch(sent):
        is_large = not MIN_INTEGER <= Decimal(sent) <= MAX_INTEGER
    else:
        is_large = math.isfinite(float(sent)) and not LOWEST_FLOAT < float(sent) < HIGHEST_FLOAT
    return is_large and not _values(sent).isdisjoint(_values(text))


def _values(digits: str) -> set[Decimal | float]:
    """Return what digits stand for: an integer for itself, others for the nearest double, too."""
    exact = _decimal(digits)
    return {exact} if _INTEGER.fullmatch(digits) else {exact, Decimal(float(digits))}


def _is_number(value: int | float | Decimal, text: str) -> bool:
    if not _NUMBER.fullmatch(text):
        return False
    typed = _decimal(text)
    if value == typed:
        return True
    # As a page shows it: the shortest spelling of the nearest float.
    return not _is_exact(text) and not isinstance(value, int) and float(value) == float(typed)


def _is_exact(text: str) -> bool:
    """Tell whether a number is typed in the digits that every plain spelling of it begins with."""
    return "e" not in text.lower() and sum(map(str.isdigit, text)) <= _EXACT_DIGITS


def _digits(text: str) -> str:
    """Return the digits that a plain spelling of the number contains: those of 4.20 and 4.2 are 4.2."""
    digits = text.removeprefix("-")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _quoted(text: str) -> str | None:
    """Return the text inside double quotes, or None where there are none."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text[1:-1]
    return str(value)


def _decimal(digits: str) -> Decimal | float:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent beyond all bounds; as a float it is 0
        return float(digits)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


#: The body was admitted, so it parses; numbers keep the digits that were sent.
_READER = json.JSONDecoder(parse_float=_decimal)
