from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_incoming.core.errors import ConfTooLarge, UnstorableJSON
from airflow_incoming.core.flatten import MISSING, flatten, join_path, lookup, split_path, unflatten

KEYS = st.text(max_size=6) | st.sampled_from(
    [
        "",
        ".",
        "\\",
        "a.b",
        "a\\.b",
        "_incoming",
        "_incoming.x",
        "\\_incoming",
        "airflow/",
        "airflow/x",
        "__classname__",
        "__var",
        "\\__type",
        "0",
        "1",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)


def _is_array_like(members: dict[str, Any]) -> bool:
    return bool(members) and set(members) == {str(index) for index in range(len(members))}


VALUES = st.recursive(
    LEAVES,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(KEYS, inside, max_size=4),
    max_leaves=12,
)
PAYLOADS = st.lists(VALUES, max_size=4) | st.dictionaries(KEYS, VALUES, max_size=4)
#: Two top-level empty ones have no parameters; objects with the keys 0…n-1 flatten as arrays do.
TELLABLE_VALUES = st.recursive(
    LEAVES,
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(KEYS, inside, max_size=4).filter(lambda members: not _is_array_like(members))
    ),
    max_leaves=12,
)
TELLABLE_PAYLOADS = st.lists(TELLABLE_VALUES, min_size=1, max_size=4) | st.dictionaries(
    KEYS, TELLABLE_VALUES, max_size=4
).filter(lambda members: not _is_array_like(members))


def _count(value: Any) -> int:
    """Count the scalars and empty containers, independently of names."""
    if isinstance(value, dict) and value:
        return sum(map(_count, value.values()))
    if isinstance(value, list) and value:
        return sum(map(_count, value))
    return 1


@given(TELLABLE_PAYLOADS)
@example({"a": {"b": {}, "c": []}, "": {"": 0}, "_incoming": {"x": 1}, "airflow/x.y": None})
def test_flattening_can_be_undone(payload: Any) -> None:
    """unflatten(flatten(x)) is x, with every type."""
    assert repr(unflatten(flatten(payload))) == repr(payload)


@given(PAYLOADS)
def test_nothing_is_dropped_or_merged(payload: Any) -> None:
    """There are as many parameters as scalars, and each name leads to its own value."""
    flat = flatten(payload)

    assert len(flat) == (_count(payload) if payload else 0)
    for name, leaf in flat.items():
        assert lookup(payload, name) is leaf


@given(TELLABLE_PAYLOADS, TELLABLE_PAYLOADS)
def test_different_payloads_flatten_differently(one: Any, other: Any) -> None:
    """Flattening is injective: types and structure show."""
    canonical = [json.dumps(payload, sort_keys=True) for payload in (one, other)]
    flats = [json.dumps(flatten(payload), sort_keys=True) for payload in (one, other)]

    assert (canonical[0] == canonical[1]) == (flats[0] == flats[1])


@given(PAYLOADS)
def test_reserved_names_are_never_taken(payload: Any) -> None:
    """No payload can pretend to be what the plugin or Airflow says."""
    for name in flatten(payload):
        assert name != "_incoming"
        assert not name.startswith(("_incoming.", "airflow/"))


@given(st.lists(st.text(), min_size=1))
def test_joined_paths_split_again(segments: list[str]) -> None:
    """Every list of segments has a path of its own."""
    assert split_path(join_path(segments)) == tuple(segments)


@given(st.text())
def test_every_text_is_a_path(path: str) -> None:
    """An administrator's typing never fails; and the path has one spelling of its own."""
    segments = split_path(path)

    assert split_path(join_path(segments)) == segments


@pytest.mark.parametrize(
    ("payload", "flat"),
    [
        (
            {"order": {"id": 7, "items": [{"sku": "a"}]}},
            {"order.id": 7, "order.items.0.sku": "a"},
        ),
        ({"a.b": {"c\\d": 1}}, {"a\\.b.c\\\\d": 1}),
        ({"a": {}, "b": [], "c": {"d": [[]]}}, {"a": {}, "b": [], "c.d.0": []}),
        ([1, {"a": 2}], {"0": 1, "1.a": 2}),
        ({"n": None, "e": "", "z": 0, "f": False}, {"n": None, "e": "", "z": 0, "f": False}),
        ({"_incoming": {"event_id": "x"}}, {"\\_incoming.event_id": "x"}),
        ({"_incoming": 1, "_incomings": 2, "a": {"_incoming": 3}}, None),
        ({"airflow/x": {"y": 1}, "airflow": 2}, {"\\airflow/x.y": 1, "airflow": 2}),
        ({"__type": 1, "a": {"__type": 2}}, {"\\__type": 1, "a.__type": 2}),
        ({"\\_incoming": 1}, {"\\\\_incoming": 1}),
        ({"_incoming.event_id": 1}, {"_incoming\\.event_id": 1}),
        ({"": 1}, {"": 1}),
        ({"a": {"": 1}, "": {"b": 2}}, {"a.": 1, ".b": 2}),
        ({}, {}),
        ([], {}),
        ({"big": 2**100}, {"big": 1267650600228229401496703205376}),
    ],
)
def test_names_of_parameters(payload: Any, flat: dict[str, Any] | None) -> None:
    """The rules of the contract, one by one."""
    expected = {"\\_incoming": 1, "_incomings": 2, "a._incoming": 3} if flat is None else flat

    assert flatten(payload) == expected
    assert list(flatten(payload)) == list(expected)


def test_objects_with_the_keys_of_an_array_come_back_as_arrays() -> None:
    """The one thing that flattening can't tell, and the top-level empty array."""
    assert unflatten(flatten({"a": {"1": "y", "0": "x"}})) == {"a": ["x", "y"]}
    assert unflatten(flatten({"0": "x"})) == ["x"]
    assert unflatten(flatten({"a": {"1": "x"}})) == {"a": {"1": "x"}}
    assert unflatten(flatten({"a": {"00": "x"}})) == {"a": {"00": "x"}}
    assert unflatten(flatten([])) == {}


@pytest.mark.parametrize(
    "flat",
    [
        {"a": 1, "a.b": 2},
        {"a.b": 2, "a": 1},
        {"a": {}, "a.b": 2},
        {"a.b": 1, "a.b.c.d": 2},
        {"_incoming": 1, "\\_incoming": 2},
        {".".join(["a"] * 65): 1},
    ],
)
def test_contradicting_names_are_refused(flat: dict[str, Any]) -> None:
    """What no flattening gives is not guessed at."""
    with pytest.raises(ValueError, match=r"contradicts|deeper"):
        unflatten(flat)


def test_the_number_of_parameters_is_bounded() -> None:
    """Exactly as many as allowed pass, however they are nested."""
    for payload in ([1, 2, 3], {"a": {"x": 1, "y": 2}, "b": []}, [[1, 2], 3]):
        assert len(flatten(payload, max_parameters=3)) == 3
        with pytest.raises(UnstorableJSON, match="more than 2 parameters"):
            flatten(payload, max_parameters=2)
    assert len(flatten([0] * 20_000, max_parameters=None)) == 20_000
    with pytest.raises(UnstorableJSON, match="more than 10000 parameters"):
        flatten([0] * 10_001)


def test_a_long_name_is_not_repeated_without_end() -> None:
    """A small body can flatten to gigabytes; the work stops at the size of a conf."""
    payload = {"k" * 100_000: [0] * 9_000}

    tracemalloc.start()
    with pytest.raises(ConfTooLarge) as refusal:
        flatten(payload, max_size=262_144)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1_000_000
    assert refusal.value.limit == 262_144
    assert refusal.value.size is None
    assert "262144 bytes" in refusal.value.detail


def _chain(depth: int) -> Any:
    return {"key": _chain(depth - 1)} if depth else 1


@given(PAYLOADS)
@example(_chain(60))
@example([_chain(20), _chain(30), {"long" * 20: [_chain(10)] * 3}])
def test_the_bound_of_size_refuses_nothing_that_fits(payload: Any) -> None:
    """It counts only names; what fits as JSON is never refused."""
    flat = flatten(payload)
    size = len(json.dumps(flat, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))

    assert flatten(payload, max_size=size) == flat


def test_nesting_is_bounded() -> None:
    """64 levels pass, 65 don't; 5000 are refused as quietly."""
    for depth, fits in ((64, True), (65, False), (5000, False)):
        payload: list[Any] = []
        for _ in range(depth):
            payload = [payload]
        if fits:
            assert list(flatten(payload)) == [".".join(["0"] * 64)]
        else:
            with pytest.raises(UnstorableJSON, match="deeper than 64 levels"):
                flatten(payload)


PAYLOAD = {"order": {"id": 7, "a.b": None, "items": [{"sku": "a"}, []]}, "_incoming": {"x": 1}, "": {"": 2}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("order.id", 7),
        ("order.a\\.b", None),
        ("order.items.0.sku", "a"),
        ("order.items.0", {"sku": "a"}),
        ("order.items.1", []),
        ("order.items", [{"sku": "a"}, []]),
        ("\\_incoming.x", 1),
        ("_incoming.x", 1),
        (".", 2),
        ("order.a.b", MISSING),
        ("order.id.x", MISSING),
        ("order.items.2", MISSING),
        ("order.items.00", MISSING),
        ("order.items.-1", MISSING),
        ("order.items.x", MISSING),
        ("order.items.٠", MISSING),
        ("order.items." + "9" * 5000, MISSING),
        ("Order.id", MISSING),
        ("missing", MISSING),
        ("order\\.id", MISSING),
        ("order\\", MISSING),
    ],
)
def test_looking_up_a_path(path: str, value: object) -> None:
    """A path leads to one thing or to nothing; null is something."""
    found = lookup(PAYLOAD, path)

    assert found is value if value is None or value is MISSING else found == value
