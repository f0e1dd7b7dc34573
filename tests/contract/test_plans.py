"""PostgreSQL finds what dispatchers and pages ask for by an index, however many events there are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, text

from airflow_incoming.core.matching import ParameterMatch
from airflow_incoming.core.messages import Started
from airflow_incoming.db import tables
from airflow_incoming.db.engine import make_engine
from airflow_incoming.db.tables import metadata
from airflow_incoming.services.finding import find
from airflow_incoming.stores import events, inbox, queue, silence
from airflow_incoming.stores.events import Criteria, id_at
from airflow_incoming.stores.scan import Budget, scan
from workbench.postgres import PostgresServer

EVENTS = 200_000
#: Rows that one statement may look at: what it returns at most, twice, and two minutes of slack in time.
FEW = 2500
NOW = datetime.now(timezone.utc)
OWNER, VERSION = UUID(int=1), UUID(int=2)

# One event each 100 ms, the newest now. Every second is due, a few wait for another attempt, are held or
# dead, and belong to a rare integration.
_FILL = """
    insert into incoming_event (id, integration_id, integration, version_id, state, received_at, due_at,
        attempts, waiting_for, body, headers, query, ended_at, replay_of)
    select (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
            || lpad(to_hex(n), 15, '0'))::uuid,
        case when n % 1000 = 7 then '00000000-0000-0000-0000-000000000009' else :owner end::uuid,
        case when n % 1000 = 7 then 'rare' else 'orders' || n % 5 end, :version, state, moment,
        case when state = 'accepted' then moment when state = 'failed' then :now + interval '1 hour' end, 0,
        case when state = 'failed' then 'dag:missing' end, '{"order": {"id": ' || n || '}}', '{}', '',
        case when state in ('dispatched', 'dead') then moment end,
        case when n % 5000 = 0 then '00000000-0000-0000-0000-000000000003'::uuid end
    from (select n, ms, to_timestamp(ms / 1000.0) as moment, case
            when n % 2 = 0 then 'accepted' when n % 2001 = 1 then 'failed' when n % 2001 = 3 then 'dead'
            when n % 2001 = 5 then 'held' else 'dispatched' end as state
        from (select n, (extract(epoch from cast(:now as timestamptz)) * 1000)::bigint
                - (:events - n) * 100 as ms from generate_series(1, :events) as n) as numbered) as timed
"""
# A suspended integration that holds many, and one whose DAG many wait for, all from before.
_CROWDS = """
    insert into incoming_event (id, integration_id, integration, version_id, state, received_at, due_at,
        attempts, waiting_for, body, headers, query)
    select (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
            || lpad(to_hex(n), 15, '0'))::uuid, :owner, integration, :version, state, :now,
        case when state = 'failed' then :now + interval '1 hour' end, 0,
        case when state = 'failed' then 'dag:crowd' end, '{}', '{}', ''
    from (select n, (extract(epoch from cast(:now as timestamptz)) * 1000)::bigint
            - (2 * :events - n) * 100 as ms,
            case when n % 2 = 0 then 'stopped' else 'waiting' end as integration,
            case when n % 2 = 0 then 'held' else 'failed' end as state
        from generate_series(1, :events) as n) as numbered
"""
_STOPPED = """
    insert into incoming_integration
        (id, name, endpoint_id, suspended, current_version_id, created_at, updated_at)
    values (gen_random_uuid(), 'stopped', 'x', true, :version, :now, :now)
"""
_CLAIMS = """
    insert into incoming_dedup (hash, integration_id, event_id, first_seen_at, last_seen_at, expires_at)
    select md5(n::text), :owner, gen_random_uuid(), :now, :now, :now + n * interval '1 second'
    from generate_series(1, :events) as n
"""


@pytest.fixture(scope="module")
def engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    """A database with many events and claims, of which PostgreSQL has statistics."""
    url = postgres_server.create_database()
    engine = make_engine(url)
    metadata.create_all(engine)
    values = {"now": NOW, "owner": OWNER, "version": VERSION, "events": EVENTS}
    with engine.begin() as connection:
        connection.execute(text("set local statement_timeout = 0"))
        connection.execute(text(_FILL), values)
        connection.execute(text(_CROWDS), values)
        connection.execute(text(_STOPPED), {"version": VERSION, "now": NOW})
        connection.execute(text(_CLAIMS), values)
    vacuuming = create_engine(url, isolation_level="AUTOCOMMIT")
    with vacuuming.connect() as connection:
        connection.execute(text("vacuum analyze"))
    vacuuming.dispose()
    yield engine
    engine.dispose()
    postgres_server.drop_database(url)


def looked_at(engine: Engine, ask: Callable[[Connection], Any]) -> dict[str, int]:
    """Run the statements of ``ask``, undo them, and return how many rows each of them looked at."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, executemany: bool) -> None:
        asked.append((statement, parameters[0] if executemany else parameters))

    def explained(connection: Connection, statement: str, parameters: Any) -> int:
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar()
        [whole] = plan if isinstance(plan, list) else json.loads(str(plan))
        return rows_of(whole["Plan"])

    with engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", note)
        ask(connection)
        event.remove(engine, "before_cursor_execute", note)
        connection.rollback()
        ours = [one for one in asked if re.search(r"\bincoming_(event|dedup)\b", one[0])]
        assert ours
        counted = {" ".join(one[0].split()): explained(connection, *one) for one in ours}
        connection.rollback()
    return counted


def rows_of(node: dict[str, Any]) -> int:
    """Return how many rows the scans of a plan have read, those that they threw away included."""
    own = 0
    if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan":
        removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = (node["Actual Rows"] + sum(node.get(name, 0) for name in removed)) * node["Actual Loops"]
    return int(own) + sum(map(rows_of, node.get("Plans", [])))


def newest(connection: Connection, number: int) -> list[UUID]:
    return [one.id for one in events.search(connection, Criteria(limit=number))]


DISPATCHER: dict[str, Callable[[Connection], Any]] = {
    "has_due": lambda c: queue.has_due(c, NOW),
    "has_due: nothing": lambda c: queue.has_due(c, NOW - timedelta(days=1)),
    "take": lambda c: queue.take(c, limit=100, now=NOW),
    "mark_dispatched": lambda c: queue.mark_dispatched(
        c, {each: [Started(dag_id="a", run_id="b")] for each in newest(c, 100)}, NOW
    ),
    "mark_failed": lambda c: queue.mark_failed(
        c, newest(c, 1)[0], error="e", waiting_for=None, due_at=NOW, retry_until=NOW
    ),
    "mark_dead": lambda c: queue.mark_dead(c, newest(c, 1)[0], error="e", now=NOW),
    "hold": lambda c: queue.hold(c, newest(c, 100)),
    "held_for_nothing": lambda c: queue.held_for_nothing(c),
    "release_held": lambda c: queue.release_held(c, OWNER, "orders1", NOW, limit=500),
    "release_held: nothing": lambda c: queue.release_held(c, OWNER, "nothing", NOW, limit=500),
    "release_held: many": lambda c: queue.release_held(c, OWNER, "stopped", NOW, limit=500),
    "pending_ids": lambda c: queue.pending_ids(c, OWNER, "orders1", limit=500),
    "discard": lambda c: queue.discard(c, newest(c, 500), "e", NOW),
    "states_present": lambda c: queue.states_present(c, ("failed", "held", "nothing")),
    "awaited": lambda c: queue.awaited(c),
    "release_waiting": lambda c: queue.release_waiting(c, "dag:missing", NOW, limit=500),
    "release_waiting: many": lambda c: queue.release_waiting(c, "dag:crowd", NOW, limit=500),
    "release_waiting: nothing": lambda c: queue.release_waiting(c, "dag:nothing", NOW, limit=500),
    "purge_events": lambda c: queue.purge_events(c, state="dispatched", before=NOW, limit=500),
    "purge_events: nothing": lambda c: queue.purge_events(
        c, state="dead", before=NOW - timedelta(days=1), limit=500
    ),
    "purge_claims": lambda c: inbox.purge_claims(c, before=NOW + timedelta(minutes=20), limit=500),
}

PAGES: dict[str, Criteria] = {
    "all": Criteria(),
    "older": Criteria(before=id_at(NOW - timedelta(hours=2))),
    "newer": Criteria(after=id_at(NOW - timedelta(hours=2))),
    "an integration": Criteria(integration="orders3"),
    "a rare integration": Criteria(integration="rare"),
    "no integration": Criteria(integration="nothing"),
    "a state": Criteria(states=("dispatched",)),
    "rare states": Criteria(states=("failed", "dead", "held")),
    "no state": Criteria(states=("nothing",)),
    "a rare state of an integration": Criteria(integration="orders1", states=("dead", "failed")),
    "a state of a rare integration": Criteria(integration="rare", states=("dispatched",)),
    "older, of a rare state": Criteria(states=("dead",), before=id_at(NOW - timedelta(hours=2))),
    "a time": Criteria(since=NOW - timedelta(hours=3), until=NOW - timedelta(hours=2)),
    "a time without events": Criteria(until=NOW - timedelta(days=1)),
    "a time of a rare integration": Criteria(
        integration="rare", since=NOW - timedelta(hours=3), until=NOW - timedelta(hours=2)
    ),
}


@pytest.mark.parametrize("name", DISPATCHER)
def test_a_dispatcher_looks_at_few_rows(engine: Engine, name: str) -> None:
    """Half of the events are due, and half are done: neither costs anything."""
    for statement, rows in looked_at(engine, DISPATCHER[name]).items():
        assert rows <= FEW, statement


def test_an_empty_queue_is_looked_at_by_its_index(engine: Engine) -> None:
    """Also while PostgreSQL believes that a quarter of all events are due: then the first row would do."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    with engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", note)
        queue.has_due(connection, NOW)
        event.remove(engine, "before_cursor_execute", note)
        statement, parameters = asked[-1]
        plan = " ".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
    assert "incoming_event_due_idx" in plan


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_events_looks_at_few_rows(engine: Engine, name: str) -> None:
    """Whatever is filtered, from whichever end."""
    for statement, rows in looked_at(engine, lambda c: events.search(c, PAGES[name])).items():
        assert rows <= FEW, statement


@pytest.mark.parametrize("name", PAGES)
def test_counting_stops_early(engine: Engine, name: str) -> None:
    """At the number that is asked for."""
    for statement, rows in looked_at(engine, lambda c: events.count(c, PAGES[name], upto=1000)).items():
        assert rows <= FEW, statement


def test_one_event_is_found_by_its_id(engine: Engine) -> None:
    """So are its copies, and several events."""

    def ask(connection: Connection) -> None:
        [newest_id] = newest(connection, 1)
        assert events.read(connection, newest_id) is not None
        events.read_plight(connection, newest_id)
        events.read_all(connection, newest(connection, 50))
        events.sizes(connection, newest(connection, 50))
        events.requeue(connection, newest(connection, 50), NOW)
        assert len(events.replays_of(connection, UUID(int=3))) == 40

    for statement, rows in looked_at(engine, ask).items():
        assert rows <= FEW, statement


def test_who_fell_silent_is_asked_of_the_index(engine: Engine) -> None:
    """One entry for each integration, also for those that have few events, or none."""
    names = ["aaa", "orders1", "orders3", "rare", "zzz"]
    row = {"suspended": False, "current_version_id": VERSION, "created_at": NOW, "updated_at": NOW}
    rows = [
        {"id": UUID(int=9 if name == "rare" else 10 + number), "name": name, "endpoint_id": name, **row}
        for number, name in enumerate(names)
    ]
    with engine.begin() as connection:
        connection.execute(insert(tables.integration), rows)

    def ask(connection: Connection) -> None:
        assert set(silence.activity(connection, names)) == set(names)
        assert silence.remember(connection) == 1, "the others' events are of integrations that are gone"

    try:
        for statement, seen in looked_at(engine, ask).items():
            assert seen <= 50, statement
    finally:
        with engine.begin() as connection:
            connection.execute(delete(tables.integration))


def test_a_search_without_an_index_keeps_its_budget(engine: Engine) -> None:
    """A value that no event has: no statement looks at more rows than a chunk, all together at the budget."""
    match = ParameterMatch(name="body.order.id", text="nothing")
    criteria = Criteria(parameter=match)
    budget = Budget(rows=10_000, seconds=30)
    counted = looked_at(engine, lambda c: scan(c, criteria, budget))
    assert max(counted.values()) <= 2000
    found = find(engine, criteria, budget)
    assert (found.events, found.searched_to is not None) == ((), True)


def test_counting_the_backlog_reads_no_event(engine: Engine) -> None:
    """Health checks count it: from the index alone, and the oldest is the first in it."""

    def ask(connection: Connection) -> None:
        backlog = events.backlog(connection)
        assert backlog.waiting == EVENTS // 2
        assert backlog.oldest is not None

    with engine.connect() as connection:
        query = (
            "EXPLAIN select state, count(*) from incoming_event where state in ('accepted') group by state"
        )
        plan = " ".join(connection.exec_driver_sql(query).scalars())
    assert "Index Only Scan" in plan
    *_, oldest = looked_at(engine, ask).values()
    assert oldest <= 10
