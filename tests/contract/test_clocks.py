"""Clocks that differ between servers, and clocks that step: nothing waits, doubles or gets in by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine

from airflow_incoming.db.engine import transaction
from airflow_incoming.services.batches import Tally
from airflow_incoming.services.dispatch import Dispatcher
from airflow_incoming.stores import queue
from airflow_incoming.stores.inbox import Inbox
from tests.contract.receiving import House
from tests.contract.samples import WEEK, make_event, random_hash
from tests.contract.test_dispatch import House as Dispatching

HOUR = timedelta(hours=1)


@pytest.fixture
def house(engine: Engine) -> Iterator[House]:
    house = House(engine)
    house.another_process()
    yield house
    house.close()


def statuses(house: House, endpoint: str, body: bytes, **headers: str) -> set[str]:
    """Return what each process says to the same request."""
    return {process.post(endpoint, body, **headers) for process in house.processes}


def test_an_event_of_a_receiver_whose_clock_is_ahead_is_due_at_once(engine: Engine) -> None:
    """By the database's clock, not in an hour; and it waits behind those that came before it."""
    now = datetime.now(timezone.utc)
    earlier = make_event(received_at=now - HOUR)
    ahead = make_event(received_at=now + HOUR)
    claimed = make_event(random_hash(), received_at=now + HOUR)
    Inbox(engine).append([ahead, claimed], now=now + HOUR)
    Inbox(engine).append([earlier], now=now - HOUR)
    moment = now + timedelta(minutes=1)
    with transaction(engine) as connection:
        assert queue.has_due(connection, moment)
        taken = [one.event for one in queue.take(connection, limit=10, now=moment)]
    assert [event.id for event in taken] == [earlier.id, ahead.id, claimed.id]
    assert taken[1].received_at == ahead.received_at  # what the run is told stays what the receiver said


def test_an_event_of_a_receiver_whose_clock_is_behind_is_due_by_that(engine: Engine) -> None:
    """It doesn't wait until the database's clock says so: the dispatcher's may be behind, too."""
    behind = datetime.now(timezone.utc) - HOUR
    Inbox(engine).append([make_event(received_at=behind)], now=behind)
    with transaction(engine) as connection:
        assert queue.has_due(connection, behind)


class Meter:
    def __init__(self) -> None:
        self.lags: list[float] = []

    def dispatched(self, tally: Tally, lags: Sequence[float]) -> None:
        self.lags += lags


def test_nothing_is_dispatched_before_it_came(engine: Engine) -> None:
    """An event from the future has waited for nothing, and not for less."""
    house, meter = Dispatching(engine), Meter()
    dispatcher = Dispatcher(engine, house.launcher, clock=house.clock, meter=meter)
    now = datetime.now(timezone.utc)
    house.clock.now = now + HOUR
    house.accept('{"order": {"id": 7}}')
    house.clock.now = now + timedelta(minutes=1)
    assert dispatcher.drain().dispatched == 1
    assert meter.lags == [0.0]


def test_a_token_while_the_clock_steps(house: House) -> None:
    """It holds from its iat to its exp, 10 seconds more or less, however often the clock comes by."""
    bearer = house.bearer("shop")
    endpoint = house.apply(state="published", auth={"type": "jwt", "api_key": "shop"})
    issued = house.clock.now - timedelta(seconds=1.001)
    answers = []
    for seconds in (0, -9, -11, -86400, 30, 3609, 3611, 86400, 3609, -11, 0):
        house.clock.now = issued + timedelta(seconds=seconds)
        answers.append((seconds, statuses(house, endpoint, b'{"a": 1}', authorization=bearer)))
    refused = {seconds for seconds, answer in answers if answer == {"unauthorized"}}
    accepted = {seconds for seconds, answer in answers if answer == {"accepted"}}
    assert refused == {-11, -86400, 3611, 86400}
    assert accepted == {0, -9, 30, 3609}


def test_a_window_while_the_clock_steps_around_its_end(house: House) -> None:
    """Back and forth before the end everything is a duplicate; one is new after it, and then none again."""
    endpoint = house.apply(state="published", deduplication={"parameters": ["body.id"]})
    body = b'{"id": 7}'
    began = house.clock.now
    assert house.process.post(endpoint, body) == "accepted"
    second = timedelta(seconds=1)
    # A duplicate moves the end forward and never back: from the latest moment that was seen.
    for moment in (began + HOUR, began - HOUR, began - WEEK, began, began + WEEK, began - second):
        house.clock.now = moment
        assert statuses(house, endpoint, body) == {"duplicate"}
    end = began + 2 * WEEK
    house.clock.now = end - second
    before = [process.post(endpoint, body) for process in house.processes]
    assert before == ["duplicate", "duplicate"]
    house.clock.now = end - second + WEEK
    after = [process.post(endpoint, body) for process in house.processes]
    assert after == ["accepted", "duplicate"]
    house.clock.now = began  # two weeks back: the claim of the new event holds there, too
    assert statuses(house, endpoint, body) == {"duplicate"}
