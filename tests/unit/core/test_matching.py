"""What people type to find an event, and the clue that lets a database skip rows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.flatten import flatten
from airflow_incoming.core.matching import Clue, ParameterMatch, clue, matches, parse_match

EXPONENT = re.compile(r"[][,:\s]-?[0-9][0-9.]*[eE][-+0-9]")


def found(body: str, name: str, text: str, *, headers: dict[str, str] | None = None, query: str = "") -> bool:
    return matches(parse_match(name, text), body=body, headers=headers or {}, query=query)


def allows(hint: Clue, stored: str) -> bool:
    """Do what a store does with a clue."""
    certain = all(word in stored for word in hint.words)
    if hint.number is not None:
        certain = certain and (hint.number in stored or EXPONENT.search(stored) is not None)
    return certain or (hint.hidden_by is not None and hint.hidden_by in stored)


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ("42", "42", True),
        ("42.0", "42", True),
        ("4.2E+1", "42", True),
        ('"42"', "42", True),
        ('"42"', '"42"', True),
        ("42", '"42"', False),
        ("421", "42", False),
        ("true", "true", True),
        ('"true"', "true", True),
        ("1", "true", False),
        ("true", "1", False),
        ("null", "null", True),
        ('""', "", True),
        ('""', '""', True),
        ("null", '""', False),
        ("{}", "{}", True),
        ("[]", "{}", False),
        ('{"a": [1, 2]}', '{"a":[1,2]}', True),
        ("[1]", "[", False),
        ("0.1", "0.10", True),
        ("0.30000000000000004", "0.3", False),
        ("12345678901234567890", "12345678901234567890", True),
        ("12345678901234567891", "12345678901234567890", False),
        ("1e-99999999999999999999", "0", True),
        ("7", "1e999", False),
        ('"ß"', "SS", False),
    ],
)
def test_a_value_is_found_without_saying_its_type(value: str, text: str, expected: bool) -> None:
    """Numbers by what they amount to, text letter by letter; quotes mean text alone."""
    assert found(f'{{"a": {{"b": {value}}}}}', "body.a.b", text) is expected


def test_a_byte_order_mark_hides_nothing() -> None:
    """It was sent, so it is stored; the parameters are behind it."""
    assert found('\ufeff{"a": 7}', "a", "7")


def test_an_absent_parameter_never_matches() -> None:
    """Not even where any value would do; null is there."""
    assert not found('{"a": 1}', "body.b", "")
    assert not found('{"a": 1}', "body.b", "null")
    assert found('{"a": null}', "body.a", "")


def test_headers_and_query() -> None:
    """A header is text; a repeated query parameter matches by any of its values."""
    assert found("{}", "header.X-Id", "7", headers={"x-id": "7"})
    assert not found("{}", "header.x-id", "7", headers={"x-id": "77"})
    assert found("{}", "query.a", "2", query="a=1&a=2")
    assert found("{}", "query.a", "", query="a=")
    assert not found("{}", "query.a", "3", query="a=1&a=2")


def test_a_name_without_a_source_is_of_the_body() -> None:
    """As people read them in a payload."""
    assert parse_match(" order.id ", " 7 ") == ParameterMatch(name="body.order.id", text="7")


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("", "x", "parameter"),
        ("header.a b", "x", "parameter"),
        ("body.", "x", "parameter"),
        ("a", "x" * 1001, "value"),
        ("a", "\x00", "value"),
        ("a", "\ud800", "value"),
        ("a", '"\\ud800"', "value"),
    ],
)
def test_what_can_not_be_looked_for_is_told_at_its_field(name: str, text: str, field: str) -> None:
    """Before a database is asked, which couldn't be."""
    with pytest.raises(InvalidConfiguration) as caught:
        parse_match(name, text)
    assert caught.value.path == (field,)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
)
OBJECTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=5),
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=4),
    min_size=1,
    max_size=3,
)


@given(OBJECTS, st.booleans())
def test_whatever_a_page_shows_is_found_and_no_clue_misses_it(payload: dict[str, Any], ascii_: bool) -> None:
    """Every parameter by its name and its value as JSON, in either spelling of the body."""
    body = json.dumps(payload, ensure_ascii=ascii_)
    for name, value in flatten(payload).items():
        match = ParameterMatch(name=f"body.{name}", text=json.dumps(value, ensure_ascii=False))
        assert matches(match, body=body, headers={}, query="")
        assert allows(clue(match), body)


def test_clues_are_worth_something() -> None:
    """They rule out what plainly doesn't match."""
    hint = clue(parse_match("body.order.id", "4711"))
    assert allows(hint, '{"order": {"id": 4711}}')
    assert not allows(hint, '{"order": {"id": 4712}}')
    assert not allows(clue(parse_match("order.id", "abc")), '{"order": {"id": "xyz"}}')
    assert not allows(clue(parse_match("query.source", "a")), "source=b")
    assert not allows(clue(parse_match("header.x-id", "a")), '{"x-id": "b"}')
