from __future__ import annotations

import pytest

from airflow_incoming.core.slots import SlotMap, key_of, slot_of

#: As a node answers CLUSTER SLOTS: two primaries, the second with a replica; nobody has slots 11000 and up.
ANSWER = [
    [0, 5000, [b"10.0.0.1", 7001, b"id1"]],
    [5001, 10999, [b"10.0.0.2", 7002, b"id2", []], [b"10.0.0.3", 7003, b"id3", []]],
]
ASKED = ("seed", 7000)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 12739),  # the specification's own example
        ("foo", 12182),
        ("{foo}bar", 12182),
        ("test:{foo}:events", 12182),
        ("foo{}", 5542),
        ("{", 4092),
        ("{}", 15257),
        ("zoë", 6658),
    ],
)
def test_slots_are_those_of_the_specification(key: str, slot: int) -> None:
    """As a Redis of version 6.2 answers CLUSTER KEYSLOT."""
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "key"),
        ("SET", "key", "value", "PX", 1000),
        ("PUBLISH", "key", b""),
        ("EVAL", "return 1", 2, "key", "other", "value"),
        ("XREAD", "COUNT", 5, "BLOCK", 1000, "STREAMS", "key", "0-0"),
    ],
)
def test_every_command_of_ours_has_a_key(command: tuple[object, ...]) -> None:
    """Which says where it goes."""
    assert key_of(command) == "key"


def test_a_map_knows_who_has_a_key() -> None:
    """The primary; nobody, where there is none."""
    slots = SlotMap.read(ANSWER, asked=ASKED)
    assert slots.owner("zoë") == ("10.0.0.2", 7002)
    assert slots.owner("{") == ("10.0.0.1", 7001)
    assert slots.owner("foo") is None
    assert slots.primaries() == [("10.0.0.1", 7001), ("10.0.0.2", 7002)]
    assert slots.nodes == (("10.0.0.1", 7001), ("10.0.0.2", 7002), ("10.0.0.3", 7003))


@pytest.mark.parametrize("host", [b"", "", None])
def test_a_node_that_does_not_know_its_own_name_is_the_one_that_was_asked(host: bytes | str | None) -> None:
    """As a cluster of one answers, or one that is told to keep addresses to itself."""
    slots = SlotMap.read([[0, 16383, [host, 7000, "id"]]], asked=ASKED)
    assert slots.owner("foo") == ASKED


def test_a_slot_that_moves_takes_its_keys_along() -> None:
    """And no others."""
    slots = SlotMap.read(ANSWER, asked=ASKED)
    slots.move(6658, ("10.0.0.9", 7009))
    assert slots.owner("zoë") == ("10.0.0.9", 7009)
    assert slots.owner("foo{}") == ("10.0.0.2", 7002)


def test_keys_are_spread_over_all_primaries() -> None:
    """One on each, and the same ones every time."""
    slots = SlotMap.read([*ANSWER, [11000, 16383, [b"10.0.0.4", 7004]]], asked=ASKED)
    keys = slots.spread("stem")
    assert sorted(slots.owner(key) for key in keys) == [
        ("10.0.0.1", 7001),
        ("10.0.0.2", 7002),
        ("10.0.0.4", 7004),
    ]
    assert all(key.startswith("stem:") for key in keys)
    assert keys == slots.spread("stem")
