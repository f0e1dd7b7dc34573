"""How many requests came, and what is remembered of those that became no event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import uuid6
from sqlalchemy import Engine, func, insert, select

from airflow_incoming.core.errors import BodyTimeout, RateLimited, Unauthorized
from airflow_incoming.core.records import RequestRecord
from airflow_incoming.db import tables
from airflow_incoming.db.engine import transaction
from airflow_incoming.services import tally
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import requests
from tests.contract.receiving import House
from tests.contract.samples import NOW
from tests.contract.test_listen import down
from workbench.processes import wait_until

HOUR = timedelta(hours=1)


@pytest.fixture
def house(engine: Engine) -> Iterator[House]:
    house = House(engine)
    yield house
    house.close()


def totals(house: House, name: str = "orders") -> tuple[int, int, int]:
    day = house.watch.last_day().get(house.manager.show(name).id)
    return (0, 0, 0) if day is None else (day.accepted, day.duplicates, day.rejected)


def count_rows(house: House, table: Any) -> int:
    with house.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_every_outcome_is_counted(house: House) -> None:
    """Accepted, duplicate and rejected, by several processes, in several writings."""
    endpoint = house.apply(state="published", deduplication={"parameters": ["body.a"]})
    other = house.another_process()
    for n in range(3):
        assert house.process.post(endpoint, b'{"a": %d}' % n) == "accepted"
        assert other.post(endpoint, b'{"a": %d}' % n) == "duplicate"
        assert other.post(endpoint, b"{") == "malformed_json"
        house.flush()
    assert totals(house) == (3, 3, 3)


def test_a_duplicate_is_remembered_with_the_first_event(house: House) -> None:
    """So that a page can lead from the one to the other."""
    endpoint = house.apply(
        state="published", deduplication={"parameters": ["body.a"], "duplicate_status": 200}
    )
    first = house.process.send(endpoint).result(20)
    assert house.process.post(endpoint) == "duplicate"
    house.flush()
    (found,) = house.watch.requests()
    integration = house.manager.show("orders")
    assert found == RequestRecord(
        id=found.id,
        received_at=house.clock.now,
        integration_id=integration.id,
        integration="orders",
        outcome="duplicate",
        status=200,
        code="duplicate",
        reason="The same was sent before.",
        event_id=first.event_id,
        dedup_hash=found.dedup_hash,
        remote="192.0.2.7",
        size=8,
    )
    with house.engine.connect() as connection:
        assert found.dedup_hash == connection.scalar(select(tables.event.c.dedup_hash))


def test_a_refused_request_is_remembered_with_its_reason(house: House) -> None:
    """The size is in bytes, the status is the sender's."""
    endpoint = house.apply(state="published")
    assert house.process.post(endpoint, '["ü", }'.encode()) == "malformed_json"
    house.flush()
    (found,) = house.watch.requests(integration="orders", outcome="rejected")
    assert (found.status, found.code, found.size, found.event_id) == (400, "malformed_json", 8, None)
    assert found.reason.startswith("The request body isn't JSON")


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer MARKER",
        "Bearer MARKER.MARKER.MARKER",
        "Basic MARKER",
        "MARKER",
        "Bearer MARKER, Bearer MARKER",
        "Bearer eyJhbGciOiJNQVJLRVIiLCJraWQiOiJNQVJLRVIiLCJ0eXAiOiJNQVJLRVIifQ.MARKER.MARKER",
        "Bearer " + "MARKER" * 1000,
    ],
)
def test_a_reason_repeats_nothing_of_a_credential(house: House, authorization: str) -> None:
    """Nor of a header or a body."""
    house.bearer("shop")
    secured = house.apply(state="published", auth={"type": "jwt", "api_key": "shop"})
    opened = house.apply("opened", state="published", deduplication={"parameters": ["header.x-own"]})
    assert house.process.post(secured, authorization=authorization) == "unauthorized"
    for body, headers in (
        (b'{"a": "MARKER}', {}),
        (b'{"a": "\\u0000MARKER"}', {}),
        (b"{}", {"content_type": "MARKER"}),
        (b"{}", {"content_encoding": "MARKER"}),
        (b"{}", {"x_own": "MARKER,MARKER"}),
    ):
        assert house.process.post(opened, body, **headers) not in ("accepted", "unavailable")
    house.flush()
    reasons = [found.reason for found in house.watch.requests()]
    assert len(reasons) == 6
    assert not any("MARKER" in reason or "eyJ" in reason for reason in reasons)


def test_a_bug_tells_nothing(house: House) -> None:
    """What an unexpected error says may be anything."""
    house.process.tally.refused("/x", ValueError("a secret"), remote="a\x00" * 99, size=3)
    house.flush()
    (found,) = house.watch.requests()
    assert (found.status, found.code) == (503, "unavailable")
    assert found.reason == "An unexpected error; the server's log has it."
    assert len(found.remote or "") == 64


def test_whose_draft_it_was_is_known_though_nobody_is_told(house: House) -> None:
    """The sender sees the 404 of any unknown endpoint; the administrator sees what it was for."""
    endpoint = house.apply()
    assert (
        house.process.post(endpoint) == house.process.post("a" * 26) == house.process.post("x") == "not_found"
    )
    house.flush()
    assert sorted(found.integration or "-" for found in house.watch.requests()) == ["-", "-", "orders"]
    (found,) = house.watch.requests(integration="orders")
    assert (found.status, found.reason) == (404, "It isn't published, so its endpoint answers 404.")


def test_what_the_guard_refuses_is_known_by_its_path(house: House) -> None:
    """It never got to the receiver, but its endpoint is counted all the same."""
    endpoint = house.apply(state="published")
    assert house.process.post(endpoint) == "accepted"
    house.process.tally.refused(
        f"/pluginsv2/incoming/{endpoint}", BodyTimeout("too slow"), remote=None, size=5
    )
    house.flush()
    (found,) = house.watch.requests(integration="orders")
    assert (found.status, found.code, found.reason, found.size) == (408, "body_timeout", "Too slow.", 5)
    assert totals(house) == (1, 0, 1)


def test_wrong_api_keys_are_remembered(house: House) -> None:
    """Not the key, but what was wrong with it, and from where."""
    made = house.keys.create("shop", by=Trusted("test")).api_key
    house.settle()
    wrong = made[:-1] + ("A" if made[-1] != "A" else "B")
    for api_key in (wrong, *["inc_nonsense"] * 9):
        with pytest.raises(Unauthorized):
            house.process.issuer.issue(api_key, remote="192.0.2.9")
    with pytest.raises(RateLimited):
        house.process.issuer.issue("inc_nonsense", remote="192.0.2.9")
    assert house.process.issuer.issue(made, remote="192.0.2.9").expires_in == 3600
    house.flush()
    found = house.watch.requests()
    assert [(each.integration, each.remote) for each in found] == [(None, "192.0.2.9")] * 11
    assert {(each.status, each.reason) for each in found} == {
        (401, "A wrong API key at auth/token: wrong secret for API key shop."),
        (401, "A wrong API key at auth/token: unknown, revoked or expired API key."),
        (429, "Too many failed attempts to obtain a token from this address."),
    }


def test_of_a_flood_the_newest_are_remembered_and_nobody_is_crowded_out(house: House) -> None:
    """All are counted; 20 of each kind and integration are written, 40 in all."""
    loud = house.apply("loud", state="published")
    quiet = house.apply("quiet", state="published")
    assert house.process.post(quiet, b"{") == "malformed_json"
    for n in range(100):
        house.clock.now += timedelta(milliseconds=1)
        assert house.process.post(loud, b"{" + b" " * n) == "malformed_json"
        house.process.tally.refused("/unknown", BodyTimeout(), remote=None, size=n)
    house.flush()
    assert len(house.watch.requests(integration="quiet")) == 1
    assert len(house.watch.requests(limit=100)) == 40
    sizes = [found.size for found in house.watch.requests(integration="loud")]
    assert sizes == list(range(100, 80, -1))[: len(sizes)]
    assert totals(house, "loud") == (0, 0, 100)


def test_while_the_database_is_down_counting_goes_on(house: House) -> None:
    """What was only remembered is lost, what was counted isn't."""
    endpoint = house.apply(state="published")
    assert house.process.post(endpoint) == "accepted"
    assert house.process.post(endpoint, b"{") == "malformed_json"
    with down(house.engine):
        house.flush()
        assert house.process.post(endpoint, b"{") == "malformed_json"
        house.flush()
    house.flush()
    assert totals(house) == (1, 0, 2)
    assert house.watch.requests() == []


def test_counts_that_wait_for_the_database_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest hours go first."""
    monkeypatch.setattr(tally, "MAX_WAITING", 3)
    endpoint = house.apply(state="published")
    house.process.directory.fresh()
    with down(house.engine):
        for _ in range(5):
            house.process.tally.refused(endpoint, BodyTimeout(), remote=None, size=0)
            house.process.tally.flush()
            house.clock.now += HOUR
    house.flush()
    assert totals(house) == (0, 0, 3)


def test_a_day_is_24_hours_up_to_now(house: House) -> None:
    """Hour by hour, the present one last."""
    endpoint = house.apply(state="published")
    for posts in (5, 0, 2):
        for n in range(posts):
            assert house.process.post(endpoint, b'{"a": %d}' % n) == "accepted"
        house.flush()
        house.clock.advance(3600)
    day = house.watch.last_day()[house.manager.show("orders").id]
    assert day.accepted_per_hour == (0,) * 20 + (5, 0, 2, 0)
    assert day.rejected_per_hour == (0,) * 24
    house.clock.advance(20 * 3600)
    assert totals(house) == (7, 0, 0)
    house.clock.advance(3600)
    assert totals(house) == (2, 0, 0)


def remember(house: House, number: int, *, age: timedelta = timedelta(0)) -> list[UUID]:
    """Store requests whose ids are as old as they are."""
    at = requests.id_at(house.clock.now - age)
    ids = [UUID(int=at.int + n) for n in range(number)]
    row = {"outcome": "rejected", "status": 400, "code": "x", "reason": "x", "size": 0}
    with transaction(house.engine) as connection:
        connection.execute(
            insert(tables.request), [row | {"id": id_, "received_at": house.clock.now - age} for id_ in ids]
        )
    return ids


def test_pages_follow_each_other(house: House) -> None:
    """Newest first, from the id that the last page ended with."""
    ids = remember(house, 5)
    first = house.watch.requests(limit=3)
    second = house.watch.requests(limit=3, before=first[-1].id)
    assert [found.id for found in first + second] == ids[::-1]


def test_the_memory_is_bounded_in_rows_and_days(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps, so that no transaction is long."""
    monkeypatch.setattr(requests, "MAX_REQUESTS", 10)
    remember(house, 4, age=timedelta(days=7, minutes=1))
    kept = remember(house, 5, age=timedelta(days=6))

    def purge() -> int:
        with transaction(house.engine) as connection:
            return requests.purge(connection, now=house.clock.now, limit=3)

    assert [purge(), purge(), purge()] == [3, 1, 0]
    newer = remember(house, 7)
    assert [purge(), purge()] == [2, 0]
    assert [found.id for found in house.watch.requests()] == (kept + newer)[:1:-1]


def test_a_flood_is_forgotten_without_a_housekeeper(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no dispatcher runs, whoever writes much deletes, too."""
    monkeypatch.setattr(requests, "MAX_REQUESTS", 30)
    monkeypatch.setattr(tally, "PURGE_AFTER", 40)
    for n in range(200):
        house.process.tally.refused("/x", BodyTimeout(), remote=None, size=n)
        if n % 20 == 19:
            house.flush()
    assert count_rows(house, tables.request) <= 60


def test_old_hours_and_deleted_integrations_are_forgotten(house: House) -> None:
    """Counts are kept for 30 days, those of other integrations stay."""
    mine, others = uuid4(), uuid4()
    with transaction(house.engine) as connection:
        for id_, age in ((mine, 31), (mine, 29), (others, 29)):
            hour = {"integration_id": id_, "hour": NOW - timedelta(days=age)}
            connection.execute(insert(tables.hourly).values(accepted=1, duplicates=0, rejected=0, **hour))
        assert requests.purge_hours(connection, now=NOW) == 1
        requests.forget_integration(connection, mine)
        assert set(requests.counts(connection, NOW - timedelta(days=60))) == {others}


def test_the_thread_writes_by_itself_and_once_more_at_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once after a pause, then every two seconds, and what is left when it stops."""
    monkeypatch.setattr(tally, "FLUSH_EVERY", 60.0)
    one = house.process.tally
    one.start()
    one.refused("/x", BodyTimeout(), remote=None, size=0)
    wait_until(lambda: count_rows(house, tables.request) == 1, seconds=10, what="the first writing")
    one.refused("/x", BodyTimeout(), remote=None, size=0)
    assert count_rows(house, tables.request) == 1
    one.stop()
    assert count_rows(house, tables.request) == 2


def test_ids_are_in_order_of_arrival(house: House) -> None:
    """Also of requests that were written together."""
    for n in range(30):
        house.clock.now += timedelta(milliseconds=1)
        house.process.tally.refused(f"/{n}", BodyTimeout(), remote=None, size=n)
    house.flush()
    found = house.watch.requests()
    assert [each.size for each in found] == list(range(29, 9, -1))
    assert all(uuid6.UUID(int=each.id.int).version == 7 for each in found)
