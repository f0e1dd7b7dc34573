"""Conditions of assets, as Airflow stores them with a DAG."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_incoming.services.consumers.conditions import holds


def asset(uri: str) -> dict[str, Any]:
    return {"asset": {"uri": uri, "name": uri, "group": "asset"}}


A, B, C = map(asset, "abc")
ALIAS = {"alias": {"name": "a", "group": ""}}


@pytest.mark.parametrize(
    ("expression", "come", "met"),
    [
        (A, "a", True),
        (A, "b", False),
        ({"any": [A, B]}, "b", True),
        ({"any": [A, B]}, "c", False),
        ({"all": [A, B]}, "a", False),
        ({"all": [A, B]}, "ab", True),
        ({"any": [{"all": [A, B]}, C]}, "c", True),
        ({"any": [{"all": [A, B]}, C]}, "b", False),
        ({"all": [{"any": [A, B]}, C]}, "bc", True),
        ({"any": [ALIAS]}, "a", False),
        ({"any": [ALIAS, A]}, "a", True),
        ({"any": []}, "a", False),
        (None, "a", False),
    ],
)
def test_conditions(expression: Any, come: str, met: bool) -> None:
    """Any of them, all of them, nested; an alias is no asset."""
    assert holds(expression, set(come)) is met
