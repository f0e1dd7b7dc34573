"""The loop's pauses."""

from __future__ import annotations

from airflow_incoming.services.loop import pause_after


def test_pauses_grow_to_a_limit_however_long_an_outage_lasts() -> None:
    """A database that is away for days ends no dispatcher: the pause is always a number."""
    assert [pause_after(failures) for failures in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 8, 8]
