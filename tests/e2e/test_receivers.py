"""What a sender sees: the same answers from the api-server, from Flask and from ``serve``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.house import JSON, Builder, House
from workbench.postgres import PostgresServer
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer

NATIVE, FLASK, SERVE = 0, 1, 2


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def house(
    request: pytest.FixtureRequest, builder: Builder, processes: Processes, redis_server: RedisServer
) -> Iterator[House]:
    postgres: PostgresServer | None = None
    if request.param == "postgresql":
        postgres = request.getfixturevalue("postgres_server")
    house = builder.build(processes, postgres=postgres, redis=redis_server)
    house.api_key = house.airflow.result("incoming", "keys", "create", "shop")["api_key"]
    house.apply(
        {"name": "plain", "state": "published", "dags": ["one"]},
        {
            "name": "orders",
            "state": "published",
            "deduplication": {"parameters": ["body.order.id"]},
            "dags": ["one", "two"],
            "headers": ["x-request-id"],
        },
        {
            "name": "polite",
            "state": "published",
            "deduplication": {"parameters": ["header.x-deduplication-hash"], "duplicate_status": 200},
            "dags": ["one"],
        },
        {"name": "secure", "state": "published", "auth": {"type": "jwt", "api_key": "shop"}, "dags": ["one"]},
        {"name": "drafted", "state": "draft", "dags": ["one"]},
        {"name": "strict", "state": "published", "dags": ["strict"]},
        {"name": "paused", "state": "published", "dags": ["paused"]},
        {"name": "asset", "state": "published", "assets": ["incoming://orders"]},
        {"name": "small", "state": "published", "dags": ["one"], "limits": {"body": "1KiB", "rate": "3/h"}},
    )
    house.api_server()
    house.receive.append(f"{house.airflow.url}/pluginsv2/incoming")
    house.serve()
    yield house
    processes.stop()


@pytest.fixture(params=[NATIVE, FLASK, SERVE], ids=["native", "flask", "serve"])
def receiver(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def dispatched(house: House, event_id: str) -> Any:
    """Wait for an event to be dispatched or given up; return (state, error)."""
    rows: list[Any] = []

    def done() -> bool:
        rows[:] = house.sql(
            "select state, error from incoming_event where id = :id and due_at is null",
            id=event_id if house.postgres else event_id.replace("-", ""),
        )
        return bool(rows)

    wait_until(done, seconds=30, what="the event to be dispatched")
    return tuple(rows[0])


def test_accepted_then_duplicate(house: House, receiver: int) -> None:
    """200 and a run for each DAG with the flattened body; the same again is 204 and names the first."""
    order = {
        "order": {"id": str(uuid.uuid4()), "n": 12345678901234567890, "items": [{"sku": "é.1"}], "none": None}
    }
    first = house.post(
        "orders", order, receiver=receiver, headers={"X-Request-Id": "r-1", "Cookie": "secret"}
    )
    assert first.status_code == 200
    assert first.headers["x-incoming-status"] == "accepted"
    event_id = first.json()["event_id"]
    again = house.post("orders", order, receiver=receiver)
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["x-incoming-status"] == "duplicate"
    assert again.headers["x-incoming-event-id"] == event_id
    assert dispatched(house, event_id) == ("dispatched", None)
    runs = [(dag, conf) for dag, run, conf in house.runs() if run == f"incoming__orders__{event_id}"]
    assert sorted(dag for dag, _ in runs) == ["one", "two"]
    conf = runs[0][1]
    received_at = conf.pop("_incoming.received_at")
    assert received_at.endswith("+00:00")
    assert conf == {
        "order.id": order["order"]["id"],
        "order.n": 12345678901234567890,
        "order.items.0.sku": "é.1",
        "order.none": None,
        "_incoming.event_id": event_id,
        "_incoming.integration": "orders",
        "_incoming.headers.x-request-id": "r-1",
    }
    assert house.post("orders", {"order": {"id": str(uuid.uuid4())}}, receiver=receiver).status_code == 200


def test_a_mark_a_charset_and_a_header_in_utf_8_reach_the_dag_as_what_they_mean(
    house: House, receiver: int
) -> None:
    """SharePoint sends the mark, many the charset; the event keeps what was sent."""
    order = {"order": {"id": str(uuid.uuid4()), "name": "Łódź"}}
    body = b"\xef\xbb\xbf" + json.dumps(order, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=iso-8859-1", "X-Request-Id": "Zażółć €".encode()}
    answer = httpx.post(house.url("orders", receiver) + "/", content=body, headers=headers, timeout=30)
    assert answer.status_code == 200
    event_id = answer.json()["event_id"]
    assert house.post("orders", order, receiver=receiver).status_code == 204
    assert dispatched(house, event_id) == ("dispatched", None)
    conf = next(conf for _, run, conf in house.runs() if run == f"incoming__orders__{event_id}")
    assert conf["order.name"] == "Łódź"
    assert conf["_incoming.headers.x-request-id"] == "Zażółć €"


def test_the_senders_own_hash_and_a_200_for_duplicates(house: House, receiver: int) -> None:
    """An integration may answer duplicates with 200; a bad hash is named."""
    headers = {"X-Deduplication-Hash": uuid.uuid4().hex}
    first = house.post("polite", {"a": 1}, receiver=receiver, headers=headers)
    again = house.post("polite", {"a": 2}, receiver=receiver, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == {"status": "duplicate", "event_id": first.json()["event_id"]}
    bad = house.post("polite", {"a": 1}, receiver=receiver, headers={"X-Deduplication-Hash": "a,b"})
    assert bad.status_code == 422
    assert "x-deduplication-hash" in bad.json()["detail"]


def test_jwt(house: House, receiver: int) -> None:
    """Only a token made from the integration's own API key opens it."""
    base = house.receive[receiver]
    for path in ("auth/token", "uauth/v2/auth/login/profile"):
        answer = httpx.post(f"{base}/{path}", json={"apiKey": house.api_key}, timeout=30)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        body = answer.json()
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
        bearer = {"Authorization": f"Bearer {body['token']}"}
        assert house.post("secure", {"a": 1}, receiver=receiver, headers=bearer).status_code == 200
    refused = [
        house.post("secure", {"a": 1}, receiver=receiver),
        house.post("secure", b"not json", receiver=receiver, headers={"Authorization": "Bearer a.b.c"}),
        house.post("secure", {}, receiver=receiver, headers={"Authorization": "Basic YTpi"}),
        house.post("secure", {}, receiver=receiver, headers={"Authorization": f"{bearer['Authorization']}x"}),
        httpx.post(f"{base}/auth/token", json={"apiKey": house.api_key + "x"}, timeout=30),
    ]
    assert [answer.status_code for answer in refused] == [401] * 5
    assert len({answer.content for answer in refused}) == 1
    assert {answer.headers["www-authenticate"] for answer in refused} == {"Bearer"}


def test_unknown_and_draft_are_one_same_404(house: House, receiver: int) -> None:
    """Nobody learns which endpoints exist."""
    draft = house.post("drafted", {"a": 1}, receiver=receiver)
    unknown = httpx.post(f"{house.receive[receiver]}/{'a' * 26}", content=b"{}", headers=JSON, timeout=30)
    assert draft.status_code == unknown.status_code == 404
    assert draft.content == unknown.content


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"a": NaN}', {}, 400, "malformed_json"),
        (b"", {}, 400, "malformed_json"),
        (b'"text"', {}, 400, "malformed_json"),
        (b'{"a": 1} x', {}, 400, "malformed_json"),
        (b'{"a": "\xff"}', {}, 400, "malformed_json"),
        (b"[" * 100_000, {}, 400, "malformed_json"),
        (b'{"a": "\\u0000"}', {}, 422, "unstorable_json"),
        (b'{"a": "\\ud800"}', {}, 422, "unstorable_json"),
        (b'{"a": 1e400}', {}, 422, "unstorable_json"),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"{}", {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        (b'{"a": "' + b"x" * 2**20 + b'"}', {}, 413, "body_too_large"),
        (b'{"a": "' + b"x" * 300_000 + b'"}', {}, 413, "conf_too_large"),
        (b"{}", {"X-Large": "x" * 20_000}, 431, "headers_too_large"),
    ],
)
def test_bad_input(house: House, receiver: int, body: bytes, headers: Any, status: int, code: str) -> None:
    """Each mistake has its 4xx, as a problem that says what is wrong; nothing is stored."""
    before = house.sql("select count(*) from incoming_event")
    answer = house.post("plain", body, receiver=receiver, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert set(problem) >= {"type", "title", "detail"}
    assert house.sql("select count(*) from incoming_event") == before


def test_only_post(house: House, receiver: int) -> None:
    """Other methods are told which one."""
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = httpx.request(method, house.url("plain", receiver), timeout=30)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_chunked_body_arrives_whole(house: House, receiver: int) -> None:
    """Senders that stream are served alike, through Flask too."""

    def chunks() -> Iterator[bytes]:
        yield b'{"parts": ['
        for number in range(5000):
            yield b"%d," % number
        yield b'"end"]}'

    answer = httpx.post(house.url("plain", receiver), content=chunks(), headers=JSON, timeout=30)
    assert answer.status_code == 200
    event_id = answer.json()["event_id"]
    assert dispatched(house, event_id) == ("dispatched", None)
    (conf,) = [conf for _, run, conf in house.runs() if run.endswith(event_id)]
    assert (conf["parts.4999"], conf["parts.5000"], len(conf)) == (4999, "end", 5004)


@pytest.mark.parametrize("prefix", ["/pluginsv2//incoming/", "/pluginsv2/incoming//", "//incoming/"])
def test_doubled_slashes_walk_around_nothing(house: House, prefix: str) -> None:
    """However Flask or Airflow may read such a path, the guard has read it first."""
    url = f"{house.airflow.url}{prefix}{house.endpoints['plain']}"
    small = httpx.post(url, content=iter([b'{"a":', b"1}"]), headers=JSON, timeout=30)
    assert small.status_code in (200, 404, 405)
    large = httpx.post(url, content=b"x" * 2**21, headers=JSON, timeout=30)
    assert large.status_code == 413


def test_health(house: House, receiver: int) -> None:
    """For load balancers, and in parts for people."""
    answer = httpx.get(f"{house.receive[receiver]}/health", timeout=30)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "healthy")
    assert {body[part]["status"] for part in ("database", "redis", "dispatcher")} == {"up"}


def test_limits_of_an_integration(house: House) -> None:
    """A smaller body limit and a rate of its own."""
    assert house.post("small", b'{"a": "' + b"x" * 2000 + b'"}').status_code == 413
    answers = [house.post("small", {"a": 1}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[3].headers["retry-after"]) > 0


def test_params_that_refuse_make_the_event_dead_with_the_reason(house: House) -> None:
    """The sender had its 200; the administrator is told which field was wrong."""
    event_id = house.post("strict", {"order": {"id": "seven"}}).json()["event_id"]
    state, error = dispatched(house, event_id)
    assert state == "dead"
    assert "order.id" in error


def test_a_paused_dag_gets_its_run(house: House) -> None:
    """Airflow starts it when somebody unpauses the DAG."""
    event_id = house.post("paused", {"a": 1}).json()["event_id"]
    assert dispatched(house, event_id) == ("dispatched", None)
    assert house.sql("select state from dag_run where dag_id = 'paused'")[0][0] == "queued"


def test_an_asset_target_gets_the_event_as_extra(house: House) -> None:
    """A DAG scheduled on the asset is queued with it."""
    event_id = house.post("asset", {"order": {"id": 3}}).json()["event_id"]
    assert dispatched(house, event_id) == ("dispatched", None)
    (extra,) = house.sql("select extra from asset_event")[-1]
    assert event_id in str(extra)
    assert house.sql("select count(*) from asset_dag_run_queue")[0][0] >= 1


def test_airflow_tokens_and_ours_do_not_mix(house: House) -> None:
    """Neither opens what the other is for."""
    airflow = house.airflow.token()
    assert house.post("secure", {}, headers={"Authorization": f"Bearer {airflow}"}).status_code == 401
    ours = httpx.post(f"{house.receive[NATIVE]}/auth/token", json={"apiKey": house.api_key}).json()["token"]
    answer = httpx.get(f"{house.airflow.url}/api/v2/dags", headers={"Authorization": f"Bearer {ours}"})
    assert answer.status_code in (401, 403)


def test_airflow_itself_is_untouched(house: House) -> None:
    """The guard and the plugin leave Airflow's own paths alone."""
    assert httpx.get(f"{house.airflow.url}/api/v2/monitor/health").status_code == 200
    assert "<html" in httpx.get(f"{house.airflow.url}/").text.lower()
