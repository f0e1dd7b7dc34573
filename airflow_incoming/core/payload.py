"""Request bodies: strict RFC 8259 JSON in UTF-8, and nothing that a database can't hold exactly.

What is not JSON is malformed (400); what is JSON but can't be stored is unstorable (422). The parser
is the standard library's; whatever would cost a walk over the tree is first ruled out on the raw bytes.

There are two ways to read a body. :func:`parse_json` gives the numbers that were sent: for hashes,
searches and pages. :func:`parse_portable` gives what all of Airflow can carry: for whatever we hand to it.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from airflow_incoming.core.errors import MalformedJSON, UnstorableJSON, UnsupportedMediaType
from airflow_incoming.core.flatten import MAX_DEPTH, join_path
from airflow_incoming.core.redaction import shown_name

MAX_DIGITS = 4300  # what Python parses by default; longer integers take quadratic time

#: What MessagePack, in which Airflow's processes talk, has for integers: of 64 bits, signed or not.
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
#: Floats are portable between these, both excluded: PostgreSQL's jsonb gives larger ones back as the
#: integers that their shortest spelling says, and that of -2^63 is below -2^63.
LOWEST_FLOAT, HIGHEST_FLOAT = float(-(2**63)), float(2**64)

_WHITESPACE = b" \t\r\n"
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND_OF_BRACKET = bytes.maketrans(b"{}", b"[]")
_TOO_DEEP = b"[" * (MAX_DEPTH + 1)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
#: A longer number shows in a sample of every so many bytes as so many digits in a row.
_STRIDE = 430
_SAMPLED_LONG_NUMBER = b"0" * ((MAX_DIGITS + 1) // _STRIDE)
#: Digits of the shortest integer that isn't portable, and how a number with an exponent that may be
#: positive looks, when all digits are zeros, the letter is small and the plus sign is left out.
_LARGE_INTEGER = b"0" * len(str(2**63))
_EXPONENT = b"0e0"
_NUMBERS_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_ESCAPED_NUL_OR_SURROGATE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_ESCAPED_BACKSLASH_OR_PAIR = re.compile(rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_UNSTORABLE_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_NO_CONTAINER = "The request body must be a JSON object or array."
_ENCODED_TWICE = (
    "The request body was encoded as JSON twice: it is a string that holds the object or array to send."
)

_PLAIN_MEDIA_TYPES = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
)
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_MEDIA_TYPE = re.compile(rf"[ \t]*application/(?:json|{_TOKEN}\+json)[ \t]*", re.IGNORECASE | re.ASCII)
_MEDIA_PARAMETER = re.compile(
    rf';[ \t]*(?:({_TOKEN})=({_TOKEN}|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*")[ \t]*)?'
)


def check_media_type(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedMediaType unless the headers announce JSON without a content encoding.

    ``application/json`` and ``application/<anything>+json`` are JSON. A charset has no effect on it (RFC
    8259, 11): what isn't UTF-8 shows in the body.
    """
    encoding = headers.get("content-encoding", "").strip()
    if encoding and encoding.lower() != "identity":
        raise UnsupportedMediaType("Send the body without a Content-Encoding.", because="encoding")
    content_type = headers.get("content-type")
    if not content_type:  # over WSGI an empty one is none
        raise UnsupportedMediaType("The Content-Type header is missing; send application/json.")
    if content_type not in _PLAIN_MEDIA_TYPES:
        _check_content_type(content_type)


def parse_json(body: bytes, *, max_containers: int = sys.maxsize) -> dict[str, Any] | list[Any]:
    """Return the object or array of a request body.

    The last of several equal keys wins. Raises MalformedJSON, whose detail never repeats the body,
    and UnstorableJSON, which names the parameter, or for more objects and arrays than ``max_containers``:
    a megabyte of brackets costs a hundred times what it costs as text.
    """
    return _read(body, _READER, max_containers)


def parse_portable(body: bytes) -> dict[str, Any] | list[Any]:
    """Return the object or array of a body with nothing in it that any part of Airflow can't carry.

    A number outside of what Airflow's processes and PostgreSQL's jsonb give back as a number is text, with
    the digits as they were sent. Raises what :func:`parse_json` raises.
    """
    return _read(body, _PORTABLE_READER if _may_be_unportable(body) else _READER, sys.maxsize)


def _read(body: bytes, reader: json.JSONDecoder, max_containers: int) -> dict[str, Any] | list[Any]:
    text = _decode(body)
    _refuse_deep_nesting(body, max_containers)
    if _may_be_unstorable(body):
        _refuse_unstorable(text)
    try:
        value = _parse(reader, text)
    except ValueError:  # a number that Python can't represent
        _refuse_unstorable(text)
        raise
    if not isinstance(value, dict | list):
        raise MalformedJSON(_ENCODED_TWICE if _is_json(value, max_containers) else _NO_CONTAINER)
    return value


def _is_json(value: object, max_containers: int) -> bool:
    """Tell whether a value is text that is itself an object or array in JSON."""
    if not isinstance(value, str) or not value.lstrip(" \t\r\n").startswith(("{", "[")):
        return False
    try:
        parse_json(value.encode(), max_containers=max_containers)
    except (MalformedJSON, UnstorableJSON):
        return False
    return True


def _check_content_type(content_type: str) -> None:
    found = _MEDIA_TYPE.match(content_type)
    if found is None:
        raise UnsupportedMediaType("The Content-Type must be application/json or application/*+json.")
    position = found.end()
    while position < len(content_type):
        parameter = _MEDIA_PARAMETER.match(content_type, position)
        if parameter is None:
            raise UnsupportedMediaType("The Content-Type header can't be understood; send application/json.")
        position = parameter.end()


def _decode(body: bytes) -> str:
    """Return the text, without the byte order mark that it may begin with (RFC 8259, 8.1)."""
    if not body.removeprefix(codecs.BOM_UTF8).strip(_WHITESPACE):
        raise MalformedJSON("The request body is empty.")
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in body[:4]:
        raise MalformedJSON("The request body looks like UTF-16 or UTF-32; send UTF-8.")
    try:
        return body.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise MalformedJSON(f"The request body isn't UTF-8 (byte {error.start}).") from error


def _refuse_deep_nesting(body: bytes, max_containers: int) -> None:
    """Measure the depth before the recursive parser meets it.

    Of the body only the brackets outside strings are looked at.
    """
    if body.count(b"[") + body.count(b"{") <= min(MAX_DEPTH, max_containers):
        return
    brackets = _brackets(body)
    if _TOO_DEEP not in brackets and brackets.count(b"[") > max_containers:
        raise UnstorableJSON(f"The payload has more than {max_containers} objects and arrays.")
    if _TOO_DEEP in brackets or _is_deep(brackets):
        raise MalformedJSON(f"The request body is nested deeper than {MAX_DEPTH} levels.")


def _is_deep(brackets: bytes) -> bool:
    """Remove the innermost pairs, round by round: well-formed text of depth n is gone after n rounds."""
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if b"[]" not in brackets:
            break
    return b"[]" in brackets or brackets.count(b"[") > MAX_DEPTH


def _brackets(body: bytes) -> bytes:
    """Return the brackets outside strings, all as square ones."""
    # Escapes go first, while what belongs together stands together: the two backslashes of ``\n\"`` are
    # not an escaped one, but would look like it without the ``n``.
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = body.translate(_ONE_KIND_OF_BRACKET, _NOT_STRUCTURE)
    # Two quotes side by side enclose nothing, whichever they are: most text goes here, at once.
    structure = structure.replace(b'""', b"")
    return b"".join(structure.split(b'"')[::2])


def _may_be_unstorable(body: bytes) -> bool:
    """Tell whether text or an integer may be unstorable; floats are looked at while parsing."""
    if len(body) > MAX_DIGITS and _has_long_number(body):
        return True
    if b"\\" not in body or not _ESCAPED_NUL_OR_SURROGATE.search(body):
        return False
    return _ESCAPED_NUL_OR_SURROGATE.search(_ESCAPED_BACKSLASH_OR_PAIR.sub(b" ", body)) is not None


def _has_long_number(body: bytes) -> bool:
    """Tell whether so many digits stand in a row; nearly always a small sample tells that they don't."""
    if _SAMPLED_LONG_NUMBER not in body[::_STRIDE].translate(_DIGITS_TO_ZERO):
        return False
    return _LONG_NUMBER in body.translate(_DIGITS_TO_ZERO)


def _may_be_unportable(body: bytes) -> bool:
    """Tell whether a number may be; text that looks like one is no harm, it only costs time."""
    numbers = body.translate(_NUMBERS_ALIKE, b"+")
    return _LARGE_INTEGER in numbers or _EXPONENT in numbers


def _parse(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedJSON(
            f"The request body isn't JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from error
    except RecursionError as error:
        raise MalformedJSON(f"The request body is nested deeper than {MAX_DEPTH} levels.") from error


def _refuse_unstorable(text: str) -> None:
    """Raise UnstorableJSON for the first parameter that can't be stored, if there is one."""
    value = _parse(_SEARCHER, text)
    if not isinstance(value, dict | list):
        raise MalformedJSON(_NO_CONTAINER)
    if found := _first_problem(value, ()):
        path, problem = found
        raise UnstorableJSON(problem, parameter=shown_name(join_path(path)))


def _first_problem(value: object, path: tuple[str, ...]) -> tuple[tuple[str, ...], str] | None:
    if isinstance(value, _OutOfRange):
        return path, value.problem
    if isinstance(value, str):
        problem = _text_problem(value)
        return (path, f"the value {problem}") if problem else None
    children: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = zip(map(str, range(len(value))), value, strict=True)
    for key, child in children:
        if problem := _text_problem(key):
            return (*path, key), f"the name {problem}"
        if found := _first_problem(child, (*path, key)):
            return found
    return None


def _text_problem(text: str) -> str | None:
    found = _UNSTORABLE_CHARACTER.search(text)
    if found is None:
        return None
    return "contains U+0000" if found[0] == "\0" else "contains a lone surrogate"


class _OutOfRange:
    """Stands for a number that can't be represented."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


def _refuse_constant(_name: str) -> NoReturn:
    raise MalformedJSON("The request body isn't JSON: NaN and Infinity are no JSON numbers.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("out of range")
    return number


def _portable_int(digits: str) -> int | str:
    return number if MIN_INTEGER <= (number := int(digits)) <= MAX_INTEGER else digits


def _portable_float(digits: str) -> float | str:
    return number if LOWEST_FLOAT < (number := _finite(digits)) < HIGHEST_FLOAT else digits


def _search_float(digits: str) -> object:
    return _OutOfRange("the number is out of range") if math.isinf(float(digits)) else 0.0


def _search_int(digits: str) -> object:
    too_long = _OutOfRange(f"the integer has more than {MAX_DIGITS} digits")
    if len(digits.lstrip("-")) > MAX_DIGITS:
        return too_long
    try:
        return int(digits)
    except ValueError:  # this interpreter's own limit is lower
        return _OutOfRange("the integer has too many digits")


_READER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
_PORTABLE_READER = json.JSONDecoder(
    parse_float=_portable_float, parse_int=_portable_int, parse_constant=_refuse_constant
)
_SEARCHER = json.JSONDecoder(
    parse_float=_search_float, parse_int=_search_int, parse_constant=_refuse_constant
)
