"""What changed between two versions is told field by field."""

from __future__ import annotations

from airflow_incoming.core.differences import Difference, differences
from airflow_incoming.core.integration import parse_configuration

OLD = parse_configuration({"title": "Orders", "dags": ["a", "b"], "limits": {"body": "1MiB"}})
NEW = parse_configuration(
    {
        "title": "Orders",
        "auth": {"type": "jwt", "api_key": "shop"},
        "deduplication": {"parameters": ["body.id"], "window": "1d"},
        "dags": ["b", "c"],
        "limits": {"rate": "5/s"},
    }
)


def test_equal_configurations_differ_in_nothing() -> None:
    """An empty tuple, so that a page can say so."""
    assert differences(NEW, NEW) == ()


def test_each_changed_field_is_told_as_it_was_and_is() -> None:
    """Nothing set is an empty side; the order is that of the pages."""
    assert [(each.path, each.before, each.after) for each in differences(OLD, NEW)] == [
        ("auth.type", ("none",), ("jwt",)),
        ("auth.api_key", (), ("shop",)),
        ("deduplication.parameters", (), ("body.id",)),
        ("deduplication.window", (), ("1d",)),
        ("deduplication.duplicate_status", (), ("204",)),
        ("dags", ("a", "b"), ("b", "c")),
        ("limits.body", ("1MiB",), ()),
        ("limits.rate", (), ("5/s",)),
    ]
    assert differences(NEW, OLD)[0] == Difference(
        path="auth.type", label="Authentication", before=("jwt",), after=("none",)
    )
