"""Payloads are read by the receivers' rules, whatever form authors have them in."""

from __future__ import annotations

import json
from collections import UserDict, UserList
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_incoming.operators.payloads import UnusablePayload, as_text, read_payload, read_payload_file


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1}, {"a": 1}),
        ([1, None, True], [1, None, True]),
        (({"a": 1},), [{"a": 1}]),
        ('{"a": 1.50}', {"a": 1.5}),
        (" [1]\n", [1]),
        (b'{"a": "\xc3\xab"}', {"a": "ë"}),
        (UserDict({"a": UserList([1])}), {"a": [1]}),
        (
            {
                "at": datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc),
                "on": date(2026, 3, 1),
                "id": UUID(int=7),
                "total": Decimal("49.90"),
                "count": Decimal("3"),
            },
            {
                "at": "2026-03-01T12:00:00+00:00",
                "on": "2026-03-01",
                "id": "00000000-0000-0000-0000-000000000007",
                "total": 49.9,
                "count": 3,
            },
        ),
    ],
)
def test_forms(value: object, expected: object) -> None:
    """A dict, a list, JSON text, and what databases and XCom put into them."""
    payload = read_payload(value)
    assert payload.value == expected
    assert json.loads(payload.body) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "payload is None: the task or template that it comes from returned nothing."),
        (7, "payload must be a dict, a list, or the text of a JSON object or array, not int."),
        ("7", "payload can't be used. It must be a JSON object or array."),
        ("", "payload can't be used. It is empty."),
        ('{"a": 1', "Expecting ',' delimiter (line 1, column 8)"),
        ("{'a': 1}", "It looks like Python's way to print a value. Give the value itself (task.output)"),
        ({"a": float("nan")}, "payload is no JSON: Out of range float values"),
        ({"a": {1, 2}}, "payload is no JSON: a set can't be written as JSON."),
        ({("a", "b"): 1}, "payload is no JSON: keys must be str"),
        ({"a": {"b": "x\0"}}, "Parameter 'a.b': the value contains U+0000"),
        ({"a": "\ud800"}, "Parameter 'a': the value contains a lone surrogate"),
    ],
)
def test_unusable(value: object, said: str) -> None:
    """An error says where, and what to change, and shows no values."""
    with pytest.raises(UnusablePayload) as caught:
        read_payload(value)
    assert said in caught.value.detail


def test_too_deep() -> None:
    """What is nested without end is refused, however it came."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnusablePayload):
        read_payload(deep)
    with pytest.raises(UnusablePayload, match="nested deeper than 64 levels"):
        read_payload("[" * 65 + "]" * 65)
    while deep:  # Python frees such a list recursively, and would crash
        deep = deep.pop()


def test_file(tmp_path: Path) -> None:
    """A file is read whole, if it isn't too large, and named in errors."""
    file = tmp_path / "orders.json"
    file.write_text('{"order": {"id": 7}}')
    assert read_payload_file(str(file), max_size=20).value == {"order": {"id": 7}}
    with pytest.raises(
        UnusablePayload, match=r"orders\.json has more than 19 bytes \(\[incoming\] max_body\)"
    ):
        read_payload_file(str(file), max_size=19)
    file.write_text("{'order'")
    with pytest.raises(UnusablePayload, match=r"orders\.json can't be used.*line 1, column 2"):
        read_payload_file(str(file), max_size=1000)
    with pytest.raises(FileNotFoundError):
        read_payload_file(str(tmp_path / "none.json"), max_size=1000)


def test_the_text_of_a_payload_means_the_same() -> None:
    """What is none is shown as Python has it, and refused."""
    value = {"n": [2**64, 1e20], "text": "é\n"}
    assert as_text(value) == '{"n": [18446744073709551616, 1e+20], "text": "\\u00e9\\n"}'
    assert read_payload(as_text(value)).value == value
    with pytest.raises(UnusablePayload, match="It looks like Python's way to print a value"):
        read_payload(as_text({"n": 2**64, "s": {1}}))
    with pytest.raises(UnusablePayload, match="must be a JSON object or array"):
        read_payload(as_text(2**64))
    with pytest.raises(UnusablePayload, match="lone surrogate"):
        read_payload(as_text({"n": "\ud800"}))
