"""The editor's form: texts in, a configuration or a mistake at its field out; two people's changes merged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_incoming.web.views.editor_form import Values, merge, read_form, whole_number

BASE = Values(title="Orders", dag=("one",), limit_rate="5/s")


@pytest.mark.parametrize(
    ("mine", "theirs", "result", "taken", "disputed"),
    [
        ({"title": "Mine"}, {"dag": ("two",)}, {"title": "Mine", "dag": ("two",)}, ("workflow",), ()),
        ({"title": "Mine"}, {"title": "Theirs"}, {"title": "Mine"}, (), ("endpoint",)),
        ({"title": "Mine"}, {"api_key": "k"}, {"title": "Mine"}, (), ("endpoint",)),
        ({"title": "Same"}, {"title": "Same"}, {"title": "Same"}, (), ()),
        (
            {},
            {"limit_rate": "", "assets": "a"},
            {"limit_rate": "", "assets": "a"},
            ("workflow", "limits"),
            (),
        ),
    ],
)
def test_sections_that_only_the_other_changed_are_taken_over(
    mine: dict[str, Any], theirs: dict[str, Any], result: dict[str, Any], taken: object, disputed: object
) -> None:
    """Of a section that both changed, mine stays, and it is named."""
    found = merge(base=BASE, mine=replace(BASE, **mine), theirs=replace(BASE, **theirs))
    assert (found.values, found.taken, found.disputed) == (replace(BASE, **result), taken, disputed)


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        (
            {"headers": "authorization"},
            "headers",
            "“authorization” carries a credential or signature and is never passed on.",
        ),
        (
            {"deduplicate": "1", "parameter": ("foo",)},
            "parameter",
            "“foo” must begin with body., header. or query. and name a field.",
        ),
        (
            {"dag": ("\x07",)},
            "dag",
            "“\\x07” must be a DAG id (letters, digits, '.', '_', '-'; at most 250).",
        ),
        (
            {"deduplicate": "1", "parameter": ("body.a",), "duplicate_status": "2" * 5000},
            "duplicate_status",
            "Must be 204 or 200.",
        ),
    ],
)
def test_a_mistake_names_the_item_once(fields: dict[str, Any], field: str, text: str) -> None:
    """And shows what can't be seen in it."""
    assert read_form(Values(**fields)) == (None, {field: text})


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("", None), ("-1", None), ("٣", None), ("9" * 5000, None)]
)
def test_a_number_that_nothing_could_have_is_none(text: str, number: int | None) -> None:
    """Python refuses to read very long ones, databases to store them."""
    assert whole_number(text) == number
