from __future__ import annotations

import itertools
import json
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.errors import BadDeduplicationHash
from airflow_incoming.core.fingerprint import fingerprint
from airflow_incoming.core.integration import Deduplication
from tests.unit.core.samples import INTEGRATION_ID

OWN = "header.x-deduplication-hash"


def make(
    *parameters: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    query: str = "",
    integration_id: UUID = INTEGRATION_ID,
) -> str | None:
    return fingerprint(
        integration_id=integration_id,
        deduplication=Deduplication(parameters=parameters),
        payload=body if body is not None else {},
        headers=headers or {},
        query=query,
    )


# With id=$(printf '\\000%.0s' {1..15})'\001', the integration's id as bytes:
@pytest.mark.parametrize(
    ("hash_", "expected"),
    [
        # printf "parameters${id}13:body.order.id2:i719:header.x-request-id4:sabc" | openssl dgst -sha256
        (
            make(
                "header.x-request-id",
                "body.order.id",
                body={"order": {"id": 7}},
                headers={"x-request-id": "abc"},
            ),
            "3faa374925819ae16f49103b65a5347f390e5e69e0a37facab66cc11517dc3c5",
        ),
        # printf "own${id}27:header.x-deduplication-hash6:a1b2c3" | openssl dgst -sha256
        (
            make(OWN, headers={"x-deduplication-hash": "a1b2c3"}),
            "68d805eda3060645e0093266f01d88f477f6a53f6a8a98c4f8768b88b2fc0b19",
        ),
        # printf "parameters${id}10:body.order28:j{\"id\":7,\"total\":1.0,\"x\":{}}" | openssl dgst -sha256
        (
            make("body.order", body={"order": {"x": {}, "total": 1.0, "id": 7}}),
            "90f71cdedaef253205061d8a023b326519dd0a60df5b85bd3e9856d540408502",
        ),
        # printf "parameters${id}12:query.source10:j[\"a\",\"b\"]" | openssl dgst -sha256
        (
            make("query.source", query="source=a&x=1&source=b"),
            "78fffe28c43f459e63b4b2ab66cf47abd592251af3aa7ec10f703c43df0738da",
        ),
    ],
)
def test_the_hash_never_changes_between_releases(hash_: str | None, expected: str) -> None:
    """A hash lives for days in databases; another way of making it would let duplicates in."""
    assert hash_ == expected


KEYS = st.sampled_from(["a", "b", "0", "1"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-3, 3)
    | st.text('01ab,"[]{}:nt-.', max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(KEYS, inside, max_size=3),
    max_leaves=5,
)


def _typed(value: Any) -> str:
    """Tell JSON values apart by type, and objects not by order."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{_typed(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_typed, value)) + "]"
    return f"{type(value).__name__}({value!r})"


@given(*[st.dictionaries(st.sampled_from("xyz"), VALUES, min_size=1)] * 2)
def test_equal_hashes_mean_equal_values(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Over any two bodies: the hashes agree exactly when types and values do, absence included."""
    hashes = [make("body.x", "body.y", "body.z", body=body) for body in (one, other)]

    assert (hashes[0] == hashes[1]) == (_typed(one) == _typed(other))


@given(st.permutations(["body.x", "body.y", "header.h", "query.q", "header.i"]), VALUES)
def test_the_order_of_choosing_does_not_matter(parameters: list[str], value: Any) -> None:
    """Administrators may sort their parameters as they like."""
    sent: dict[str, Any] = {"body": {"x": value}, "headers": {"h": "1"}, "query": "q=2"}

    assert make(*parameters, **sent) == make(*sorted(parameters), **sent)


def test_types_differ() -> None:
    """1, "1", 1.0, true, null, absent and their neighbours all differ."""
    values = [1, "1", 1.0, True, None, False, 0, "", "null", [], {}, [1], ["1"], [1.0], {"a": 1}, {"a": "1"}]
    hashes = {make("body.x", "body.always", body={"always": 1, "x": value}) for value in values}
    hashes.add(make("body.x", "body.always", body={"always": 1}))

    assert len(hashes) == len(values) + 1
    assert None not in hashes


def test_parts_do_not_run_together() -> None:
    """("ab", "c") isn't ("a", "bc"), nor does a value slip into another parameter."""
    pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("c", "ab")]

    assert len({make("body.x", "body.y", body={"x": x, "y": y}) for x, y in pairs}) == len(pairs)


def test_the_order_of_keys_in_an_object_does_not_matter() -> None:
    """Objects are sets of members, arrays are sequences."""
    assert make("body.o", body=json.loads('{"o": {"a": 1, "b": {"d": 2, "c": 3}}}')) == make(
        "body.o", body=json.loads('{"o": {"b": {"c": 3, "d": 2}, "a": 1}}')
    )
    assert make("body.o", body={"o": [1, 2]}) != make("body.o", body={"o": [2, 1]})


def test_integrations_have_memories_of_their_own() -> None:
    """The same event sent to two integrations is no duplicate."""
    assert make("body.x", body={"x": 1}) != make("body.x", body={"x": 1}, integration_id=UUID(int=2))


def test_choosing_other_parameters_starts_a_new_memory() -> None:
    """Even where the values are the same, and when moving to the sender's own hash."""
    sent: dict[str, Any] = {"body": {"x": "1", "y": "1"}, "headers": {"x": "1", "y": "1"}, "query": "x=1"}
    chosen = [
        ("body.x",),
        ("body.y",),
        ("header.x",),
        ("header.y",),
        ("query.x",),
        ("body.x", "body.y"),
        ("body.x", "header.x"),
        ("body.x", "body.absent"),
    ]

    assert len({make(*parameters, **sent) for parameters in chosen}) == len(chosen)


def test_nothing_present_gives_no_hash() -> None:
    """The event is accepted undeduplicated; null and empty are present."""
    assert make("body.x", "header.h", "query.q", body={"y": 1}) is None
    assert make(OWN) is None
    assert make("body.x", body={"x": None}) is not None
    assert make("body.x", body=[]) is None
    assert make("query.q", query="q=") is not None
    assert make("query.q", query="q") is not None
    assert make("header.h", "body.x", headers={"h": ""}) is not None


def test_one_present_parameter_is_enough() -> None:
    """Absence is a value beside others."""
    assert make("body.x", "body.y", body={"x": 1}) != make("body.x", "body.y", body={"y": 1})


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=3),
        min_size=2,
        max_size=2,
    )
)
def test_repeated_query_parameters_differ_from_single_ones(values: list[list[str]]) -> None:
    """A list of values is itself: a, a twice, a then b, and the text of a list all differ."""
    hashes = [
        make("query.q", "body.always", body={"always": 1}, query=urlencode({"q": v}, doseq=True))
        for v in values
    ]

    assert (hashes[0] == hashes[1]) == (values[0] == values[1])


def test_queries_are_read_as_forms_are() -> None:
    """Percent-encoding and order don't matter; bytes that aren't UTF-8 stay apart."""
    assert make("query.q", query="q=a%20b") == make("query.q", query="x=1&q=a+b")
    assert make("query.q", query="q=%ff") != make("query.q", query="q=%fe")
    assert make("query.q", query="q=%ff") is not None


def test_any_text_can_be_hashed() -> None:
    """An operator may hash what no request can carry."""
    assert make("body.x", "body.y", body={"x": "\ud800"}) != make("body.x", "body.y", body={"x": "\ud801"})


@pytest.mark.parametrize("value", ["a", "x" * 128, "urn:order:7;v=2", "!~", "0"])
def test_usable_own_hashes(value: str) -> None:
    """1 to 128 printable ASCII characters."""
    assert make(OWN, headers={"x-deduplication-hash": value}) is not None


@pytest.mark.parametrize("value", ["", "x" * 129, "a,b", "a, a", "é", "a\n", "\x00", "\x7f", "\ud800", "٣"])
def test_unusable_own_hashes_are_refused(value: str) -> None:
    """A comma is the trace of a repeated header; the header is named, its value isn't."""
    with pytest.raises(BadDeduplicationHash, match="x-deduplication-hash") as refusal:
        make(OWN, headers={"x-deduplication-hash": value})
    assert "128" in refusal.value.detail


def test_a_header_beside_others_is_a_plain_parameter() -> None:
    """Only a header that stands alone is the sender's own hash."""
    assert make(OWN, "body.x", headers={"x-deduplication-hash": "a, b"}) is not None


def test_all_pairs_of_small_values_differ() -> None:
    """Type and place count for each of two parameters."""
    values: list[Any] = [None, True, False, *range(12), *map(str, range(12)), *map(float, range(12))]
    pairs = list(itertools.product(values, values))

    assert len({make("body.x", "body.y", body={"x": x, "y": y}) for x, y in pairs}) == len(pairs)
