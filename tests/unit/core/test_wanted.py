"""Filters of waiting tasks and watchers."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_incoming.core.wanted import wanted

CONF = {
    "order.id": 7,
    "order.name": "7",
    "order.total": 49.9,
    "order.paid": True,
    "order.note": None,
    "order.tags": [],
    "body.x": "nested in body",
    "indented": " as it was sent\n",
    "a\\.b": 1,
    "order.weight": "18446744073709551616",
    "order.atoms": "6.02214076E+23",
    "order.answer": "None",
    "order.text": "1e400",
    "order.odd": "100000000000000000001",
    "phone": "+48100200300",
    "_incoming.headers.x-shop": "de",
}


@pytest.mark.parametrize(
    "where",
    [
        None,
        {},
        {"order.id": 7},
        {"order.id": "7"},
        {"body.order.id": " 7 "},
        {"order.name": 7},
        {"order.name": '"7"'},
        {"order.total": "49.90"},
        {"order.paid": True},
        {"order.paid": "true"},
        {"order.note": None},
        {"order.tags": []},
        {"body.body.x": "nested in body"},
        {"a\\.b": "1"},
        {"indented": " as it was sent\n"},
        {"indented": '" as it was sent\\n"'},
        {"order.paid": "true\n"},
        {"header.X-Shop": "de"},
        {"order.id": "7", "order.paid": "true"},
        {"order.paid": "True"},
        {"order.note": "None"},
        {"order.answer": "None"},
        {"order.weight": 2**64},
        {"order.weight": "18446744073709551616.0"},
        {"order.weight": 2.0**64},
        {"order.odd": 10**20 + 1},
        {"order.atoms": 6.02214076e23},
        {"order.atoms": "602214076000000000000000"},
        {"phone": "+48100200300"},
    ],
)
def test_wanted(where: dict[str, Any] | None) -> None:
    """A value is compared as people write it; all of them have to match."""
    wants = wanted(where)
    assert wants.matches(CONF)
    assert wanted(wants.parameters) == wants


@pytest.mark.parametrize(
    "where",
    [
        {"order.id": 8},
        {"order.id": '"7"'},
        {"order.id": "7", "order.paid": "false"},
        {"order.missing": "null"},
        {"order.paid": "False"},
        {"order.paid": '"True"'},
        {"order.paid": "TRUE"},
        {"order.note": "none"},
        {"order.id": "True"},
        {"order.weight": 2**64 + 1},
        {"order.weight": 2.0**64 * 2},
        {"order.atoms": 6.02214077e23},
        {"order.text": "1e500"},
        {"order.odd": 1e20},
        {"order.odd": 10.0**20},
        {"order.odd": 10**20},
        {"phone": "48100200300"},
        {"header.x-other": "de"},
        {"indented": "as it was sent"},
        {"a.b": 1},
    ],
)
def test_not_wanted(where: dict[str, Any]) -> None:
    """Another value, another type in quotes, or no such parameter."""
    assert not wanted(where).matches(CONF)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"order.id": ""}, "where: order.id is empty, which would find any event"),
        ({"order.id": "  "}, "where: order.id is empty"),
        ({"query.a": "1"}, "where: query.a: an event doesn't carry its query string. Write body.query.a"),
        ({7: "1"}, "where: 7 is no name of a parameter"),
        ({"": "1"}, "where: must begin with"),
        (
            {"order.tags": ["a"]},
            "Name one inside of it, such as order.tags.0",
        ),
        ({"order.tags": {"a": 1}}, "Name one inside of it, such as order.tags.a"),
        ({"order.id": float("nan")}, "where: order.id is nan, which no event can carry"),
        ({"order.id": object()}, "where: order.id must be text, a number or a boolean, not object"),
    ],
)
def test_mistakes_are_named(where: dict[Any, Any], said: str) -> None:
    """What would match by accident is refused."""
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        wanted(where)


def test_it_is_said_in_words() -> None:
    """For logs and errors."""
    assert str(wanted({"order.id": 7, "header.x-shop": "de"})) == "body.order.id = 7 and header.x-shop = de"
    assert str(wanted(None)) == "anything"
