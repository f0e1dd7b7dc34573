"""When dispatchers look for asset events that no run has, and what they remember of that."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.services.housekeeping import Housekeeping
from airflow_incoming.stores import unconsumed
from airflow_incoming.stores.unconsumed import Mark, Unconsumed
from tests.contract.test_dispatch import TableLauncher

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)


class Broom:
    """Sweeps as often as it is told, and finds as much as is there."""

    def __init__(self) -> None:
        self.is_lively = True
        self.there = 0
        self.swept = 0
        self.purged = 0
        self.error: Exception | None = None

    def sweep(self) -> bool:
        self.swept += 1
        if self.error is not None:
            raise self.error
        self.there = max(self.there - 1, 0)
        return self.there > 0

    def purge(self) -> int:
        self.purged += 1
        return 1


def housekeeping(
    engine: Engine, broom: Broom, now: list[float], leftovers: Leftovers | None = None
) -> Housekeeping:
    return Housekeeping(
        engine,
        TableLauncher(),
        clock=lambda: NOW,
        event_retention=DAY,
        dead_retention=DAY,
        sweeper=broom,
        stored=leftovers,
        monotonic=lambda: now[0],
    )


def test_how_often_is_looked(engine: Engine) -> None:
    """Every second where there was something, every three where there was nothing; at once for more."""
    broom, now = Broom(), [100.0]
    chores = housekeeping(engine, broom, now)
    swept = []
    for lively, seconds in ((True, 0), (True, 0.9), (True, 0.2), (False, 1.0), (False, 2.5), (False, 0.6)):
        broom.is_lively = lively
        now[0] += seconds
        chores.tick()
        swept.append(broom.swept)
    assert swept == [1, 1, 2, 3, 3, 4]
    now[0] += 3
    broom.there = 3
    assert [chores.tick() for _ in range(3)] == [True, True, False]
    assert broom.swept == 7
    assert chores.purge() == 1
    assert broom.purged == 1


def test_a_look_that_fails(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """It hinders nobody's events, and is tried again after a while; a database that is away is told of."""
    broom, now = Broom(), [100.0]
    chores = housekeeping(engine, broom, now)
    broom.error = RuntimeError("a table of another release")
    assert not chores.tick()
    assert "could not be looked for" in caplog.text
    now[0] += 29
    assert not chores.tick()
    assert broom.swept == 1
    broom.error = DatabaseUnavailable()
    now[0] += 2
    with pytest.raises(DatabaseUnavailable):
        chores.tick()


def test_what_dags_wait_for(engine: Engine) -> None:
    """Each asset event once for each DAG, until it is removed for that DAG."""
    one, two = UUID(int=1), UUID(int=2)
    noted = [
        Unconsumed(dag_id="a", asset_event_id=11, event_id=one, since=NOW),
        Unconsumed(dag_id="a", asset_event_id=12, event_id=two, since=NOW + DAY),
        Unconsumed(dag_id="b", asset_event_id=11, event_id=one, since=NOW),
    ]
    with transaction(engine) as connection:
        assert unconsumed.is_empty(connection)
        unconsumed.add(connection, [])
        unconsumed.add(connection, noted)
    with pytest.raises(IntegrityError), transaction(engine) as connection:
        unconsumed.add(connection, noted[:1])
    with transaction(engine) as connection:
        assert sorted(unconsumed.of_event(connection, one), key=lambda each: each.dag_id) == noted[::2]
        unconsumed.remove(connection, "a", [11, 13])
        assert not unconsumed.is_empty(connection)
        assert unconsumed.of_event(connection, one) == noted[2:]


def test_one_looks_at_a_time(engine: Engine) -> None:
    """The mark is one dispatcher's until it commits; others neither wait nor look."""
    missing = {7: NOW, 5: NOW + DAY}
    with transaction(engine) as connection:
        assert unconsumed.lock_mark(connection) is None
        unconsumed.begin(connection, 3)
        unconsumed.move(connection, Mark(seen=9, missing=missing))
    with transaction(engine) as connection:
        assert unconsumed.lock_mark(connection) == Mark(seen=9, missing=missing)
        with reading(engine) as other:
            assert unconsumed.read_mark(other) == Mark(seen=9, missing=missing)
            if engine.dialect.name != "sqlite":  # there, who may write is decided when a transaction begins
                assert unconsumed.lock_mark(other) is None
    with pytest.raises(IntegrityError), transaction(engine) as connection:
        unconsumed.begin(connection, 0)


class Leftovers:
    """What an older release left, in some pages."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.looks = 0
        self.is_broken = False

    def mend(self) -> bool:
        if self.is_broken:
            raise ValueError("somebody else's row")
        self.looks += 1
        self.pages -= 1
        return self.pages > 0


def test_what_is_stored_is_mended_before_runs_are_asked_for(engine: Engine) -> None:
    """Piece by piece, at once; then again after an hour, and whatever is wrong with it."""
    broom, leftovers, now = Broom(), Leftovers(3), [100.0]
    chores = housekeeping(engine, broom, now, leftovers)
    assert [chores.tick(), chores.tick()] == [True, True]
    assert broom.swept == 0
    chores.tick()
    assert broom.swept == 1
    now[0] += 10
    chores.tick()
    assert (leftovers.looks, broom.swept) == (3, 2)
    now[0] += 3600
    leftovers.is_broken = True
    chores.tick()
    assert broom.swept == 3
