"""Retrieve data: what listens, to whom, and what becomes of the request that comes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.exc import OperationalError

from airflow_incoming.core.errors import Conflict, InvalidConfiguration, NotFound
from airflow_incoming.core.integration import Auth
from airflow_incoming.db import tables
from airflow_incoming.db.engine import transaction
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import listening
from tests.contract.receiving import House
from workbench.processes import wait_until


@pytest.fixture
def house(engine: Engine) -> Iterator[House]:
    house = House(engine)
    yield house
    house.close()


def rows(house: House, table: Any) -> int:
    with house.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_a_draft_captures_one_request_and_starts_nothing(house: House) -> None:
    """The first request is kept; the next one finds no endpoint, as any draft's."""
    endpoint = house.apply(deduplication={"parameters": ["body.id"]}, dags=["one"])
    assert house.process.post(endpoint) == "not_found"
    started = house.listen()
    assert (started.ready_at - started.started_at, started.captured) == (timedelta(seconds=1), None)
    sent = b'{"id":  7, "name": "caf\xc3\xa9"}'
    assert house.process.post(endpoint, sent, cookie="secret", x_shop="one") == "captured"
    assert house.process.post(endpoint, sent) == "not_found"
    captured = house.listening.look("orders").captured  # type: ignore[union-attr]
    assert captured is not None
    assert captured.body == '{"id":  7, "name": "café"}'
    assert (captured.headers["cookie"], captured.headers["x-shop"]) == ("[redacted]", "one")
    assert (captured.query, captured.remote) == ("s=1", "192.0.2.7")
    assert (rows(house, tables.event), rows(house, tables.dedup)) == (0, 0)


def test_what_came_is_kept_as_the_sample(house: House) -> None:
    """Keeping it ends the listening; nothing to keep is a conflict."""
    endpoint = house.apply()
    listener = house.listen().id
    with pytest.raises(Conflict):
        house.listening.keep_sample("orders", listener, by=Trusted("ada"))
    assert house.process.post(endpoint, b'{"a": 1}') == "captured"
    kept = house.listening.keep_sample("orders", listener, by=Trusted("ada"))
    assert (kept.body, kept.kept_by) == ('{"a": 1}', "ada")
    assert house.listening.sample("orders") == kept
    assert house.listening.look("orders") is None
    house.listening.drop_sample("orders", by=Trusted("tess"))
    assert house.listening.sample("orders") is None
    with pytest.raises(NotFound):
        house.listening.keep_sample("other", listener, by=Trusted("ada"))


def test_nobody_keeps_what_they_have_not_seen(house: House) -> None:
    """While one listens another can't; after that, what came for the one isn't what the other keeps."""
    endpoint = house.apply()
    first = house.listening.start("orders", by=Trusted("ada"))
    with pytest.raises(Conflict, match="ada retrieves data here right now; try again in 90 s"):
        house.listening.start("orders", by=Trusted("bob"))
    assert house.listening.start("orders", by=Trusted("ada")).id != first.id
    house.clock.advance(91)
    second = house.listening.start("orders", by=Trusted("bob"))
    house.settle()
    assert house.process.post(endpoint, b'{"b": 2}') == "captured"
    with pytest.raises(Conflict):
        house.listening.keep_sample("orders", first.id, by=Trusted("ada"))
    assert house.listening.keep_sample("orders", second.id, by=Trusted("bob")).body == '{"b": 2}'


def test_an_earlier_event_is_made_the_sample(house: House) -> None:
    """An integration's own event, and no other's."""
    endpoint = house.apply(state="published")
    house.apply("other")
    event_id = house.process.send(endpoint, b'{"b": 2}').result(20).event_id
    assert event_id is not None
    house.listening.set_sample("orders", event_id, by=Trusted("ada"))
    assert house.listening.set_sample("orders", event_id, by=Trusted("bob")).kept_by == "bob"
    sample = house.listening.sample("orders")
    assert sample is not None
    assert (sample.body, sample.query) == ('{"b": 2}', "s=1")
    for name, chosen in (("other", event_id), ("orders", uuid4())):
        with pytest.raises(NotFound):
            house.listening.set_sample(name, chosen, by=Trusted("ada"))


def test_it_listens_to_whom_the_form_says(house: House) -> None:
    """The key that was chosen a moment ago opens the draft; nobody else does, and that is told."""
    endpoint = house.apply()
    bearer = house.bearer("shop")
    house.listen(auth=Auth(type="jwt", api_key="shop"))
    assert house.process.post(endpoint) == "unauthorized"
    house.flush()
    (refused,) = house.listening.look("orders").refused  # type: ignore[union-attr]
    assert (refused.status, refused.code) == (401, "unauthorized")
    assert refused.reason == "There is no Authorization header."
    assert house.process.post(endpoint, authorization=bearer) == "captured"


def test_without_a_form_it_listens_to_whom_the_newest_version_says(house: House) -> None:
    """A saved draft with a key isn't open to strangers."""
    bearer = house.bearer("shop")
    endpoint = house.apply(auth={"type": "jwt", "api_key": "shop"})
    house.listen()
    assert house.process.post(endpoint) == "unauthorized"
    assert house.process.post(endpoint, authorization=bearer) == "captured"


def test_a_key_that_opens_nothing_is_refused_at_once(house: House) -> None:
    """Waiting for what can't come helps nobody; the field is named."""
    house.apply()
    house.bearer("old")
    house.keys.revoke("old", by=Trusted("test"))
    for auth in (Auth(type="jwt"), Auth(type="jwt", api_key="none"), Auth(type="jwt", api_key="old")):
        with pytest.raises(InvalidConfiguration) as caught:
            house.listening.start("orders", auth=auth, by=Trusted("ada"))
        assert caught.value.path == ("auth", "api_key")
    with pytest.raises(NotFound):
        house.listening.start("other", by=Trusted("ada"))


@pytest.mark.parametrize("state", ["published", "suspended"])
def test_a_live_endpoint_goes_on_and_keeps_a_copy_of_the_first(house: House, state: str) -> None:
    """Its senders are answered as ever."""
    endpoint = house.apply(state=state)
    house.listen()
    assert house.process.post(endpoint, b'{"a": 1}') == "accepted"
    wait_until(lambda: house.listening.look("orders").captured is not None, seconds=10, what="a copy")  # type: ignore[union-attr]
    assert house.process.post(endpoint, b'{"a": 2}') == "accepted"
    assert house.listening.look("orders").captured.body == '{"a": 1}'  # type: ignore[union-attr]
    assert rows(house, tables.event) == 2


def test_a_duplicate_is_kept_too(house: House) -> None:
    """An administrator who sends the same again sees it."""
    endpoint = house.apply(state="published", deduplication={"parameters": ["body.a"]})
    assert house.process.post(endpoint) == "accepted"
    house.listen()
    assert house.process.post(endpoint) == "duplicate"
    wait_until(lambda: house.listening.look("orders").captured is not None, seconds=10, what="a copy")  # type: ignore[union-attr]


def test_a_live_endpoint_never_listens_to_whom_a_form_says(house: House) -> None:
    """What is in a form lets no stranger in."""
    house.bearer("shop")
    endpoint = house.apply(state="published", auth={"type": "jwt", "api_key": "shop"})
    house.listen(auth=Auth(type="none"))
    assert house.process.post(endpoint) == "unauthorized"
    assert house.listening.look("orders").captured is None  # type: ignore[union-attr]


def test_a_draft_that_goes_live_meanwhile_listens_to_its_senders_alone(house: House) -> None:
    """What the form said is forgotten with the publishing."""
    house.bearer("shop")
    endpoint = house.apply(auth={"type": "jwt", "api_key": "shop"})
    house.listen(auth=Auth(type="none"))
    house.manager.publish("orders", by=Trusted("test"))
    house.settle()
    assert house.process.post(endpoint) == "unauthorized"


def test_the_listening_ends_by_itself(house: House) -> None:
    """A process that knows of it looks at the clock, and so does the database."""
    endpoint = house.apply()
    house.listen(seconds=5)
    assert house.process.directory.fresh().listeners
    house.clock.now += timedelta(seconds=4.5)  # time goes by, and the process asks nothing
    assert house.process.post(endpoint) == "not_found"
    record = house.listening.look("orders")
    assert record is not None
    assert not record.is_listening(house.clock.now)


def test_stopping_is_noticed_even_before_it_is_known(house: House) -> None:
    """A process that still believes in the listening is told otherwise by the database."""
    endpoint = house.apply()
    house.listen()
    assert house.process.directory.fresh().listeners
    house.listening.stop("orders", by=Trusted("tess"))
    assert house.process.post(endpoint) == "not_found"
    assert house.listening.look("orders") is None


def test_starting_again_forgets_what_came(house: House) -> None:
    """Two administrators don't conflict: the later one listens."""
    endpoint = house.apply()
    first = house.listen()
    assert house.process.post(endpoint) == "captured"
    second = house.listen()
    assert first.id != second.id
    assert house.listening.look("orders").captured is None  # type: ignore[union-attr]
    assert house.process.post(endpoint) == "captured"


def test_many_may_start_at_once(house: House) -> None:
    """One of them listens in the end, and nobody meets an error."""
    house.apply()
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda _: house.listening.start("orders", by=Trusted("ada")).id, range(8)))
    assert house.listening.look("orders").id in started  # type: ignore[union-attr]


def test_of_many_requests_at_many_processes_one_is_captured(house: House) -> None:
    """The database decides which."""
    endpoint = house.apply()
    for _ in range(2):
        house.another_process()
    house.listen()
    futures = [
        process.send(endpoint, json.dumps({"n": n}).encode())
        for n in range(20)
        for process in house.processes
    ]
    outcomes = Counter(
        future.result(20).status if future.exception(20) is None else future.exception().code  # type: ignore[union-attr]
        for future in futures
    )
    assert outcomes == {"captured": 1, "not_found": 59}


def test_a_large_body_is_captured_whole(house: House) -> None:
    """It is parsed on a thread, as ever, and stored whatever its size."""
    endpoint = house.apply()
    house.listen()
    body = json.dumps({"items": ["x" * 1000] * 500}).encode()
    assert house.process.post(endpoint, body) == "captured"
    assert house.listening.look("orders").captured.body == body.decode()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed_json"),
        (b'{"a": "' + b"x" * 2**20 + b'"}', "body_too_large"),
        (b"[" * 99, "malformed_json"),
    ],
)
def test_what_would_be_refused_is_refused(house: House, body: bytes, code: str) -> None:
    """And the endpoint listens on."""
    endpoint = house.apply()
    house.listen()
    assert house.process.post(endpoint, body) == code
    house.flush()
    assert [refused.code for refused in house.listening.look("orders").refused] == [code]  # type: ignore[union-attr]
    assert house.process.post(endpoint) == "captured"


def test_a_draft_answers_503_while_the_database_is_down_and_then_captures(house: House) -> None:
    """The sender who tries again is not too late."""
    endpoint = house.apply()
    house.listen()
    house.process.directory.fresh()
    with down(house.engine):
        assert house.process.post(endpoint) == "database_unavailable"
    assert house.process.post(endpoint) == "captured"


def test_a_live_endpoint_does_not_care_whether_the_copy_can_be_kept(house: House) -> None:
    """A thread that hangs over the copy holds no request up."""
    endpoint = house.apply(state="published")
    house.listen()
    hanging = threading.Event()
    house.process.capturing._thread.submit(hanging.wait)
    try:
        assert house.process.post(endpoint) == "accepted"
        assert house.process.post(endpoint) == "accepted"
    finally:
        hanging.set()


def test_deleting_leaves_nothing(house: House) -> None:
    """Neither what listens nor what is kept."""
    endpoint = house.apply()
    listener = house.listen().id
    assert house.process.post(endpoint) == "captured"
    house.listening.keep_sample("orders", listener, by=Trusted("ada"))
    house.listen()
    integration_id = house.manager.show("orders").id
    with transaction(house.engine) as connection:
        listening.forget_integration(connection, integration_id)
    assert (rows(house, tables.listener), rows(house, tables.sample)) == (0, 0)


def test_listeners_are_forgotten_after_a_while(house: House) -> None:
    """Only those that ended before."""
    house.apply()
    house.listen(seconds=90)
    ends = house.listening.look("orders").listens_until  # type: ignore[union-attr]
    for before, left in ((ends, 1), (ends + timedelta(seconds=1), 0)):
        with transaction(house.engine) as connection:
            listening.purge(connection, before=before, limit=10)
        assert rows(house, tables.listener) == left


class down:  # noqa: N801 - reads as a sentence
    """The database refuses to change anything inside the block."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        event.listen(self._engine, "before_cursor_execute", self._refuse)

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._refuse)

    def _refuse(self, connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith(("UPDATE", "INSERT")):
            raise OperationalError(statement, None, Exception("gone"))
