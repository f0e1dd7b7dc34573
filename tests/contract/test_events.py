"""Finding events, telling why they were duplicates, and sending them once more, on every database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, insert, select, update

from airflow_incoming.core.errors import Conflict, NotFound
from airflow_incoming.core.fingerprint import fingerprint
from airflow_incoming.core.integration import parse_declaration
from airflow_incoming.core.matching import parse_match
from airflow_incoming.core.messages import Claim, Started
from airflow_incoming.db import tables
from airflow_incoming.db.engine import reading
from airflow_incoming.services import finding
from airflow_incoming.services.manage import Bounds, Manager
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import events
from airflow_incoming.stores.dedup import InMemoryDedup, Known, Memory
from airflow_incoming.stores.events import Criteria, id_at
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.stores.scan import Budget, scan
from tests.contract.clerks import Airflow, Clerk
from tests.contract.samples import NOW, WEEK, make_event

EVERY = ("accepted", "held", "dispatched", "failed", "dead")


class Desk:
    """A desk, and a sender whose events have ids of the time that they came."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = NOW
        self.memory = InMemoryDedup()
        self.desk = EventDesk(engine, self.memory, clock=lambda: self.now)
        self.manager = Manager(engine, clock=lambda: self.now, bounds=Bounds(max_body=2**20))
        self._serial = 0
        self.apply()

    def apply(self, name: str = "orders", **fields: Any) -> Any:
        declared = parse_declaration({"name": name, "state": "published", "dags": ["one"], **fields})
        found = self.manager.apply([declared], by=Trusted("test"))[0].integration
        self.integration_id, self.version_id = found.id, found.current.id
        return found

    def send(
        self,
        payload: Any = None,
        *,
        state: str = "dispatched",
        at: datetime | None = None,
        integration: str = "orders",
        headers: dict[str, str] | None = None,
        query: str = "",
        raw: str | None = None,
        claim: Claim | None = None,
    ) -> UUID:
        self._serial += 1
        moment = at or self.now
        event = replace(
            make_event(received_at=moment, integration_id=self.integration_id, version_id=self.version_id),
            id=UUID(int=id_at(moment).int + self._serial),
            integration=integration,
            body=raw if raw is not None else json.dumps(payload if payload is not None else {"n": 1}),
            headers=headers or {},
            query=query,
            claim=claim,
        )
        Inbox(self.engine).append([event], now=moment)
        with self.engine.begin() as connection:
            connection.execute(
                update(tables.event)
                .where(tables.event.c.id == event.id)
                .values(state=state, error="no" if state in ("failed", "dead") else None)
            )
        return event.id

    def ids(self, **criteria: Any) -> list[UUID]:
        return [event.id for event in self.desk.list(Criteria(**criteria))]

    def column(self, event_id: UUID, name: str) -> Any:
        with self.engine.connect() as connection:
            return connection.scalar(select(tables.event.c[name]).where(tables.event.c.id == event_id))


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)


def walk(desk: Desk, criteria: Criteria) -> Iterator[Any]:
    """Give all pages, towards older events."""
    while True:
        page = desk.desk.find(criteria)
        yield page
        if page.older is None:
            return
        criteria = replace(criteria, before=page.older)


@pytest.mark.parametrize("states", [(), ("failed", "dispatched"), EVERY])
def test_pages_show_every_event_once(desk: Desk, states: tuple[str, ...]) -> None:
    """Walking to older pages meets each event once, newest first; walking back meets the same pages."""
    sent = [desk.send(state=("failed", "dispatched")[n % 2]) for n in range(7)]
    pages = list(walk(desk, Criteria(states=states, limit=3)))
    assert [[event.id for event in page.events] for page in pages] == [
        sent[6:3:-1],
        sent[3:0:-1],
        sent[:1],
    ]
    back = desk.desk.find(Criteria(states=states, limit=3, after=pages[2].newer))
    assert [event.id for event in back.events] == sent[3:0:-1]
    assert (back.older, back.newer) == (sent[1], sent[3])
    first = desk.desk.find(Criteria(states=states, limit=3, after=back.newer))
    assert ([event.id for event in first.events], first.newer) == (sent[6:3:-1], None)


def test_filters(desk: Desk) -> None:
    """By integration, by states, by a range of time with an open end."""
    old = desk.send(at=NOW - timedelta(hours=3))
    failed = desk.send(state="failed", at=NOW - timedelta(hours=2))
    desk.apply("other")
    other = desk.send(state="dead", at=NOW - timedelta(hours=1), integration="other")
    assert desk.ids() == [other, failed, old]
    assert desk.ids(integration="orders") == [failed, old]
    assert desk.ids(states=("failed", "dead")) == [other, failed]
    assert desk.ids(integration="orders", states=("dead",)) == []
    assert desk.ids(since=NOW - timedelta(hours=2)) == [other, failed]
    assert desk.ids(until=NOW - timedelta(hours=2)) == [old]
    assert desk.desk.count(Criteria(), upto=2) == 3
    assert desk.desk.count(Criteria(states=("failed", "dead")), upto=1000) == 2
    assert desk.desk.count(Criteria(parameter=parse_match("n", "1")), upto=1000) is None


def test_the_time_of_receipt_decides_and_not_the_time_in_the_id(desk: Desk) -> None:
    """A process that makes many ids runs ahead of its clock; the range is of the times people see."""
    desk.now = NOW
    ahead = desk.send()
    with desk.engine.begin() as connection:
        connection.execute(update(tables.event).values(received_at=NOW - timedelta(seconds=30)))
    assert desk.ids(until=NOW - timedelta(seconds=10)) == [ahead]
    assert desk.ids(since=NOW - timedelta(seconds=10)) == []


SPELLINGS = [
    ('{"order": {"id": 42}}', "body.order.id", "42"),
    ('{"order": {"id": 4.2e1}}', "body.order.id", "42"),
    ('{"order": {"id": 420E-1}}', "order.id", "42"),
    ('{"order": {"id": 42.00}}', "body.order.id", "42.0"),
    ('{"order": {"id": "42"}}', "body.order.id", "42"),
    ('{"order": {"id": "42"}}', "body.order.id", '"42"'),
    ('{"order": {"id": "\\u0034\\u0032"}}', "body.order.id", "42"),
    ('{"\\u006frder": {"id": true}}', "body.order.id", "true"),
    ('{"order": {"id": null}}', "body.order.id", "null"),
    ('{"order": {"id": "a\\/b"}}', "body.order.id", "a/b"),
    ('{"order": {"id": "say \\"x\\""}}', "body.order.id", 'say "x"'),
    ('{"order": {"id": "Z\u00fcrich"}}', "body.order.id", "Z\u00fcrich"),
    ('{"order": {"id": "Z\\u00fcrich"}}', "body.order.id", "Z\u00fcrich"),
    ('{"order": {"id": {"b": 1, "a": [ ]}}}', "body.order.id", '{"a": [], "b": 1}'),
    ('{"order": {"id": [7, "x"]}}', "body.order.id.1", "x"),
    ('{"order.id": 42}', "body.order\\.id", "42"),
    ('[{"id": 42}]', "body.0.id", "42"),
    ('{"order": {"only": 0}}', "body.order.only", ""),
    ('{"order": {"id": ""}}', "body.order.id", '""'),
    ('{"order": {"id": -0.50}}', "body.order.id", "-0.5"),
    ('{"order": {"id": "%_\'"}}', "body.order.id", "%_'"),
    ('{"order": {"id": 12345678901234567890.0}}', "body.order.id", "1.2345678901234567e+19"),
]


@pytest.mark.parametrize(("body", "name", "value"), SPELLINGS)
def test_a_search_finds_a_value_however_it_is_spelled(desk: Desk, body: str, name: str, value: str) -> None:
    """The database skips rows, but never one that matches."""
    sent = desk.send(raw=body)
    desk.send({"order": {"id": "something else", "no": 1}})
    desk.send({"unrelated": 42})
    assert desk.ids(parameter=parse_match(name, value)) == [sent]


def test_a_search_by_header_and_query(desk: Desk) -> None:
    """Header names in any case; query strings as they were escaped."""
    sent = desk.send(headers={"x-request-id": 'a"/b \u00fc'}, query="source=a%20b+c&plain=7&%70ercent=1")
    desk.send(headers={"x-request-id": "other"}, query="source=x")
    for name, value in (
        ("header.X-Request-Id", 'a"/b \u00fc'),
        ("query.source", "a b c"),
        ("query.plain", "7"),
        ("query.percent", "1"),
        ("query.plain", ""),
    ):
        assert desk.ids(parameter=parse_match(name, value)) == [sent]
    assert desk.ids(parameter=parse_match("query.plain", "8")) == []


def test_a_search_stops_and_says_where(desk: Desk) -> None:
    """Within its budget it looks at the newest events; going on from there misses none."""
    wanted = desk.send({"id": "needle"}, at=NOW - timedelta(hours=9))
    for hour in range(8, 0, -1):
        desk.send({"id": hour}, at=NOW - timedelta(hours=hour))
    criteria = Criteria(parameter=parse_match("id", "needle"))
    with desk.engine.connect() as connection:
        first = scan(connection, criteria, Budget(rows=3))
        second = scan(connection, replace(criteria, before=first.last), Budget(rows=100))
    assert (first.events, first.finished) == ((), False)
    assert ([event.id for event in second.events], second.finished) == ([wanted], True)


def test_a_search_pages_both_ways(desk: Desk) -> None:
    """As pages without a search do."""
    sent = [desk.send({"id": n % 2}) for n in range(8)]
    odd = sent[1::2]
    criteria = Criteria(parameter=parse_match("id", "1"), limit=2)
    pages = [page for page in walk(desk, criteria) if page.events]
    assert [[event.id for event in page.events] for page in pages] == [odd[:1:-1], odd[1::-1]]
    back = desk.desk.find(replace(criteria, after=pages[1].newer))
    assert [event.id for event in back.events] == odd[:1:-1]
    assert all(page.searched_to is None for page in pages)


def test_events_of_a_hash(desk: Desk) -> None:
    """The event that claimed it, and a replay that claimed it again."""
    first = desk.send(claim=Claim(hash="a" * 64, window=WEEK))
    desk.send(claim=Claim(hash="b" * 64, window=WEEK))
    assert desk.ids(dedup_hash="a" * 64) == [first]


def test_a_stream_gives_whole_events_up_to_a_limit(desk: Desk) -> None:
    """With their bodies, newest first."""
    sent = [desk.send({"n": n}) for n in range(30)]
    streamed = list(desk.desk.stream(Criteria(), limit=28))
    assert [event.id for event in streamed] == sent[:1:-1]
    assert streamed[0].body == '{"n": 29}'


def test_a_stream_that_would_search_too_long_says_so_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is given then, so that nobody takes a part for all; what is found in time is given whole."""
    sent = [desk.send({"n": n % 2}) for n in range(6)]
    criteria = Criteria(parameter=parse_match("body.n", "1"))
    assert [event.id for event in desk.desk.stream(criteria, limit=10)] == sent[::-1][::2]
    assert [event.body for event in desk.desk.stream(criteria, limit=2)] == ['{"n": 1}'] * 2
    monkeypatch.setattr(finding, "STREAM_BUDGET", Budget(rows=3))
    with pytest.raises(Conflict, match="shorter time range"):
        list(desk.desk.stream(criteria, limit=10))


def test_dead_events_are_counted_by_integration(desk: Desk) -> None:
    """For the list of integrations; of many only the newest."""
    desk.apply("bills")
    for integration in ("orders", "orders", "bills"):
        desk.send({"n": 1}, state="dead", integration=integration)
    desk.send({"n": 1}, state="failed")
    with reading(desk.engine) as connection:
        assert events.dead_by_integration(connection, upto=100) == {"orders": 2, "bills": 1}
        assert events.dead_by_integration(connection, upto=2) == {"orders": 1, "bills": 1}


# Why a duplicate


def test_the_story_of_a_hash(desk: Desk) -> None:
    """Which values made it, who owns it, since when, and until when the later of both memories lasts."""
    chosen = ["body.order.id", "body.gone", "header.authorization", "query.source"]
    desk.apply(deduplication={"parameters": chosen, "window": "7d"})
    event_id = desk.send(
        {"order": {"id": 7}},
        headers={"authorization": "[redacted]"},
        query="source=x",
        claim=Claim(hash="c" * 64, window=WEEK),
    )
    whole = desk.desk.whole(event_id)
    assert {one.name: one.value for one in whole.story.chosen} == {
        "body.order.id": "7",
        "body.gone": None,
        "header.authorization": '"[redacted]"',
        "query.source": '"x"',
    }
    assert [one.name for one in whole.story.chosen if one.is_redacted] == ["header.authorization"]
    claimed = whole.story.claimed
    assert claimed is not None
    assert (claimed.owner, claimed.first_seen_at, claimed.expires_at) == (event_id, NOW, NOW + WEEK)
    desk.memory.remember([Memory("c" * 64, Known(event_id, NOW), 2 * WEEK)])
    desk.now = sent = NOW + timedelta(days=1)
    claimed = desk.desk.whole(event_id).story.claimed
    assert claimed is not None
    assert sent + WEEK - timedelta(minutes=1) < claimed.expires_at <= sent + WEEK
    assert (whole.version, whole.story.is_own_hash, whole.story.is_certain) == (2, False, True)


def test_a_hash_is_remembered_for_the_window_that_is_published_now(desk: Desk) -> None:
    """Whatever window its own version has: who sends it once more asks under the published one."""
    desk.apply(deduplication={"parameters": ["body.n"], "window": "7d"})
    event_id = desk.send(claim=Claim(hash="f" * 64, window=WEEK))
    desk.now = NOW + timedelta(minutes=1)
    for window, until in (("1h", NOW + timedelta(hours=1)), ("30s", None), ("14d", NOW + 2 * WEEK)):
        desk.apply(deduplication={"parameters": ["body.n"], "window": window})
        claimed = desk.desk.whole(event_id).story.claimed
        assert (claimed and claimed.expires_at) == until


def test_a_hash_that_a_newer_event_owns(desk: Desk) -> None:
    """After the window the next request is a new event, and the story of the old one names it."""
    old = desk.send(claim=Claim(hash="d" * 64, window=WEEK))
    desk.now = NOW + 2 * WEEK
    assert desk.desk.whole(old).story.claimed is None
    new = desk.send(claim=Claim(hash="d" * 64, window=WEEK))
    claimed = desk.desk.whole(old).story.claimed
    assert claimed is not None
    assert claimed.owner == new


def test_remembered_duplicates_are_counted(desk: Desk) -> None:
    """Those of this event alone."""
    event_id = desk.send(claim=Claim(hash="e" * 64, window=WEEK))
    request = {
        "received_at": NOW,
        "integration": "orders",
        "outcome": "duplicate",
        "status": 204,
        "code": "duplicate",
        "reason": "",
        "size": 2,
    }
    with desk.engine.begin() as connection:
        for number, owner in enumerate([event_id, event_id, UUID(int=9)]):
            connection.execute(insert(tables.request).values(id=UUID(int=number), event_id=owner, **request))
    assert desk.desk.whole(event_id).story.duplicates == 2


# Sending once more


def hash_of(desk: Desk, payload: Any) -> str:
    deduplication = desk.manager.show("orders").current.configuration.deduplication
    assert deduplication is not None
    made = fingerprint(
        integration_id=desk.integration_id,
        deduplication=deduplication,
        payload=payload,
        headers={},
        query="",
    )
    assert made is not None
    return made


def test_a_dead_event_runs_under_what_was_repaired(desk: Desk) -> None:
    """Its DAG was named wrong; it is corrected, published, and the event is replayed."""
    dead = desk.send(state="dead")
    repaired = desk.apply(dags=["right"])
    (done,) = desk.desk.replay([dead], by=Trusted("test"))
    assert done.action == "requeued"
    assert desk.column(dead, "version_id") == repaired.current.id
    assert (desk.column(dead, "state"), desk.column(dead, "error")) == ("accepted", None)


def test_replaying_with_deduplication(desk: Desk) -> None:
    """A hash that somebody else owns is a duplicate; a failed event that owns its hash runs."""
    desk.apply(deduplication={"parameters": ["body.id"]})
    hashes = [hash_of(desk, {"id": n}) for n in range(4)]
    ran = desk.send({"id": 0}, claim=Claim(hash=hashes[0], window=WEEK))
    failed = desk.send({"id": 1}, state="failed", claim=Claim(hash=hashes[1], window=WEEK))
    outdone = desk.send({"id": 2}, state="dead")
    owner = desk.send({"id": 2}, claim=Claim(hash=hashes[2], window=WEEK))
    never_claimed = desk.send({"id": 3})
    waiting = desk.send({"id": 5}, state="accepted")
    ids = [ran, failed, outdone, never_claimed, waiting]
    done = {one.event_id: one for one in desk.desk.replay(ids, by=Trusted("test"), deduplicate=True)}
    assert [done[event_id].action for event_id in ids] == [
        "duplicate",
        "requeued",
        "duplicate",
        "copied",
        "pending",
    ]
    assert str(owner) in str(done[outdone].reason)
    copy = done[never_claimed].new_id
    assert copy is not None
    assert desk.column(copy, "dedup_hash") == hashes[3]
    assert desk.memory.peek(hashes)[hashes[3]].known.event_id == copy
    # Once more, and the copy owns the hash.
    (again,) = desk.desk.replay([never_claimed], by=Trusted("test"), deduplicate=True)
    assert again.action == "duplicate"
    (anyway,) = desk.desk.replay([never_claimed], by=Trusted("test"))
    assert anyway.action == "copied"


def test_of_two_equal_events_one_is_replayed(desk: Desk) -> None:
    """In one batch as in two."""
    twins = [desk.send({"id": 1}, state="dead"), desk.send({"id": 1}, state="dead")]
    desk.apply(deduplication={"parameters": ["body.id"]})
    done = desk.desk.replay(twins, by=Trusted("test"), deduplicate=True)
    assert [one.action for one in done] == ["requeued", "duplicate"]


def test_redis_may_know_what_the_database_does_not_yet(desk: Desk) -> None:
    """A window that only Redis has slid still makes a duplicate; a refused replay slides nothing."""
    desk.apply(deduplication={"parameters": ["body.id"]})
    made = hash_of(desk, {"id": 1})
    event_id = desk.send({"id": 1}, claim=Claim(hash=made, window=WEEK))
    desk.now = NOW + WEEK + timedelta(minutes=1)
    desk.memory.remember([Memory(made, Known(event_id, NOW), WEEK)])
    before = desk.memory.peek([made])[made].ago
    (done,) = desk.desk.replay([event_id], by=Trusted("test"), deduplicate=True)
    assert done.action == "duplicate"
    assert desk.memory.peek([made])[made].ago >= before
    desk.desk.forget(made, by=Trusted("test"))
    (done,) = desk.desk.replay([event_id], by=Trusted("test"), deduplicate=True)
    assert done.action == "copied"


def test_a_hash_made_of_a_secret_can_not_be_made_again(desk: Desk) -> None:
    """The event isn't run undeduplicated instead; without deduplication it runs."""
    event_id = desk.send(headers={"x-api-key": "[redacted]"}, state="dead")
    desk.apply(deduplication={"parameters": ["header.x-api-key", "body.n"]})
    (done,) = desk.desk.replay([event_id], by=Trusted("test"), deduplicate=True)
    assert (done.action, "x-api-key" in str(done.reason)) == ("refused", True)
    assert desk.desk.replay([event_id], by=Trusted("test"))[0].action == "requeued"


def test_replaying_all_that_match_in_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event once, oldest first, and never the copies; those of a DAG one may not trigger, not at all."""
    monkeypatch.setattr("airflow_incoming.services.replay.STEP_EVENTS", 3)
    sent = [desk.send({"n": n}, at=NOW - timedelta(minutes=10 - n)) for n in range(7)]
    desk.apply("other", dags=["forbidden"])
    refused = desk.send(integration="other", at=NOW - timedelta(seconds=1))

    Airflow(desk.engine)
    who = Clerk(dags=frozenset({"one"}))
    upto = desk.desk.newest_now()
    cursor, done, steps = None, [], 0
    while steps == 0 or cursor is not None:
        step = desk.desk.replay_step(Criteria(), cursor=cursor, upto=upto, by=who, deduplicate=False)
        done += step.done
        cursor = step.cursor
        steps += 1
    assert [one.event_id for one in done] == [*sent, refused]
    assert [one.action for one in done] == ["copied"] * 7 + ["refused"]
    assert steps == 3
    assert len(desk.ids()) == 15


def test_copies_come_after_the_bound_even_where_a_clock_lags(desk: Desk) -> None:
    """So that no step of the same replay meets them."""
    far = NOW + timedelta(days=9000)
    desk.send(at=NOW)
    step = desk.desk.replay_step(
        Criteria(), cursor=None, upto=id_at(far), by=Trusted("test"), deduplicate=False
    )
    (done,) = step.done
    assert done.new_id is not None
    assert done.new_id > id_at(far)


def test_replays_of_an_event(desk: Desk) -> None:
    """An event names its copies, and a copy its event."""
    event_id = desk.send()
    desk.send()
    (done,) = desk.desk.replay([event_id], by=Trusted("test"))
    assert [copy.id for copy in desk.desk.whole(event_id).replays] == [done.new_id]
    assert done.new_id is not None
    assert desk.desk.show(done.new_id).replay_of == event_id


def test_replaying_what_is_not_there_replays_nothing(desk: Desk) -> None:
    """All or none."""
    event_id = desk.send(state="dead")
    with pytest.raises(NotFound):
        desk.desk.replay([event_id, UUID(int=1)], by=Trusted("test"))
    assert desk.column(event_id, "state") == "dead"


def test_runs_that_airflow_has_no_more_are_deleted(engine: Engine) -> None:
    """Airflow's tables tell the state of each run that an event started."""
    from airflow.utils.sqlalchemy import UtcDateTime
    from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table

    airflow = MetaData()
    run = Table(
        "dag_run",
        airflow,
        Column("id", Integer, primary_key=True),
        Column("dag_id", String(250)),
        Column("run_id", String(250)),
        Column("state", String(50)),
        Column("start_date", UtcDateTime),
        Column("end_date", UtcDateTime),
    )
    dag = Table("dag", airflow, Column("dag_id", String(250)), Column("is_paused", Boolean))
    airflow.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(dag).values(dag_id="one", is_paused=True))
        connection.execute(insert(run).values(dag_id="one", run_id="r", state="running", start_date=NOW))
    desk = EventDesk(engine, None, clock=lambda: NOW)
    runs = desk.runs(
        [Started(dag_id="one", run_id="r"), Started(dag_id="two", run_id="r"), Started(asset="a")]
    )
    assert {key: (each.state, each.is_paused) for key, each in runs.items()} == {
        ("one", "r"): ("running", True),
        ("two", "r"): ("deleted", False),
    }
