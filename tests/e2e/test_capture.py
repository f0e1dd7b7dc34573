"""Retrieve data and the memory of refused requests, through real processes over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import httpx
import pytest
from sqlalchemy import Engine

from airflow_incoming.core.integration import Auth
from airflow_incoming.core.records import ListenerRecord, RequestRecord, Sample
from airflow_incoming.db.engine import make_engine
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.rights import Trusted
from airflow_incoming.services.watch import Watch
from tests.house import JSON, Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer

NATIVE, FLASK, SERVE = 0, 1, 2


def utcnow() -> datetime:
    return datetime.now(timezone.utc)


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def house(
    request: pytest.FixtureRequest, builder: Builder, processes: Processes, redis_server: RedisServer
) -> Iterator[House]:
    on_postgres = request.param == "postgresql"
    postgres = request.getfixturevalue("postgres_server") if on_postgres else None
    house = builder.build(processes, postgres=postgres, redis=redis_server)
    house.api_key = house.airflow.result("incoming", "keys", "create", "shop")["api_key"]
    house.apply(
        {"name": "drafted", "state": "draft", "dags": ["one"]},
        {"name": "secured", "state": "draft", "dags": ["one"]},
        {
            "name": "orders",
            "state": "published",
            "deduplication": {"parameters": ["body.order.id"]},
            "dags": ["one"],
        },
    )
    house.api_server()
    house.receive.append(f"{house.airflow.url}/pluginsv2/incoming")
    house.serve()
    yield house
    processes.stop()


@pytest.fixture(params=[NATIVE, FLASK, SERVE], ids=["native", "flask", "serve"])
def receiver(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def engine(house: House) -> Iterator[Engine]:
    engine = make_engine(house.airflow.database)
    yield engine
    engine.dispose()


@pytest.fixture
def listening(engine: Engine) -> Listening:
    return Listening(engine, clock=utcnow)


@pytest.fixture
def watch(engine: Engine) -> Watch:
    return Watch(engine, clock=utcnow)


def start(listening: Listening, name: str, auth: Auth | None = None) -> ListenerRecord:
    """Listen, and wait until every process must know."""
    record = listening.start(name, auth=auth, by=Trusted("test"))
    time.sleep(max(0.0, (record.ready_at - utcnow()).total_seconds()))
    return record


def keep(listening: Listening, name: str) -> Sample:
    record = listening.look(name)
    assert record is not None
    return listening.keep_sample(name, record.id, by=Trusted("test"))


def events(house: House) -> int:
    return int(house.sql("select count(*) from incoming_event")[0][0])


def test_a_draft_that_listens_captures_one_request(house: House, listening: Listening, receiver: int) -> None:
    """200 and ``captured`` for the first, 404 before and after; nothing is started."""
    before = events(house)
    assert house.post("drafted", {"a": 1}, receiver=receiver).status_code == 404
    start(listening, "drafted")
    assert house.post("drafted", b"{", receiver=receiver).status_code == 400
    captured = house.post("drafted", {"order": {"id": receiver}}, receiver=receiver)
    assert (captured.status_code, captured.json()) == (200, {"status": "captured"})
    assert captured.headers["x-incoming-status"] == "captured"
    assert [house.post("drafted", {"a": 1}, receiver=n).status_code for n in (NATIVE, FLASK, SERVE)] == [
        404
    ] * 3
    sample = keep(listening, "drafted")
    assert json.loads(sample.body) == {"order": {"id": receiver}}
    assert events(house) == before


def test_a_key_that_was_only_chosen_opens_a_draft(house: House, listening: Listening, receiver: int) -> None:
    """Strangers get in no more than anywhere."""
    start(listening, "secured", Auth(type="jwt", api_key="shop"))
    token = httpx.post(
        f"{house.receive[receiver]}/auth/token", json={"apiKey": house.api_key}, timeout=30
    ).json()["token"]
    assert house.post("secured", {"a": 1}, receiver=receiver).status_code == 401
    bearer = {"Authorization": f"Bearer {token}"}
    answer = house.post("secured", {"a": 1}, receiver=receiver, headers=bearer)
    assert answer.json() == {"status": "captured"}
    captured = keep(listening, "secured")
    assert captured.headers["authorization"] == "[redacted]"
    assert token not in str(captured)


def test_a_live_endpoint_answers_as_ever_and_a_duplicate_is_seen(
    house: House, listening: Listening, watch: Watch, receiver: int
) -> None:
    """Its sender gets 204; the administrator sees what came, and that it was a duplicate."""
    order = {"order": {"id": f"seen-{receiver}"}}
    first = house.post("orders", order, receiver=receiver)
    assert first.status_code == 200
    start(listening, "orders")
    again = house.post("orders", order, receiver=receiver)
    assert (again.status_code, again.headers["x-incoming-status"]) == (204, "duplicate")

    def came() -> bool:
        record = listening.look("orders")
        return record is not None and record.captured is not None

    wait_until(came, seconds=10, what="the copy")
    assert json.loads(keep(listening, "orders").body) == order
    event_id = first.json()["event_id"]
    found = remembered(watch, lambda each: str(each.event_id) == event_id)
    assert (found.integration, found.outcome, found.status) == ("orders", "duplicate", 204)


def test_what_is_refused_is_remembered_and_counted(house: House, watch: Watch, receiver: int) -> None:
    """With the reason, wherever it was refused."""
    size = 20 + receiver  # tells this one apart
    assert house.post("orders", b"{".ljust(size), receiver=receiver).status_code == 400
    found = remembered(watch, lambda each: each.size == size)
    assert (found.integration, found.status, found.code) == ("orders", 400, "malformed_json")
    assert httpx.get(house.url("orders", receiver), timeout=30).status_code == 405
    remembered(watch, lambda each: each.code == "method_not_allowed" and each.integration == "orders")
    wrong = httpx.post(f"{house.receive[receiver]}/auth/token", json={"apiKey": "inc_x"}, timeout=30)
    assert wrong.status_code == 401
    remembered(watch, lambda each: each.reason.startswith("A wrong API key at auth/token"))
    day = next(iter(watch.last_day().values()))
    assert day.rejected >= 2
    assert day.rejected_per_hour[-1] + day.rejected_per_hour[-2] == day.rejected


def test_what_the_guard_refuses_is_remembered(house: House, watch: Watch) -> None:
    """A body over the limit never reached the receiver."""

    def chunks() -> Iterator[bytes]:
        yield from [b"x" * 2**16] * 32

    answer = httpx.post(house.url("orders", SERVE), content=chunks(), headers=JSON, timeout=30)
    assert answer.status_code == 413
    found = remembered(watch, lambda each: each.code == "body_too_large")
    assert found.integration == "orders"
    assert found.size > 2**20


def remembered(watch: Watch, wanted: Callable[[RequestRecord], bool]) -> RequestRecord:
    """Wait until a request is remembered; each process writes every two seconds."""
    found: list[RequestRecord] = []

    def there() -> bool:
        found[:] = [each for each in watch.requests() if wanted(each)]
        return bool(found)

    wait_until(there, seconds=10, what="the request to be remembered")
    return found[0]
