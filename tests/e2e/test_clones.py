"""Production and a clone of it beside one Redis, as real processes: neither answers for the other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import count
from time import monotonic, sleep

import pytest
from sqlalchemy import create_engine, make_url

from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer


def copy_of(house: House) -> str:
    """Make a copy of a database that nobody uses; return its URL."""
    url = make_url(house.airflow.database)
    name = f"{url.database}_clone"
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as source, closing(sqlite3.connect(name)) as target:
            source.backup(target)
    else:
        server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{url.database}"')
        server.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def hashes(redis: RedisServer) -> list[tuple[str, str]]:
    """Return the hashes that are remembered, each with the name under which it is."""
    keys = [key.decode().split(":") for key in redis.client().keys(f"*:dedup:{'?' * 64}")]
    return [(name, hash_) for _, name, _, hash_ in keys]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_clone_beside_production(
    request: pytest.FixtureRequest,
    builder: Builder,
    processes: Processes,
    redis_server: RedisServer,
    database: str,
) -> None:
    """Whichever starts first; no dispatcher is needed, and what both had is a duplicate in both."""
    postgres = request.getfixturevalue("postgres_server") if database == "postgresql" else None
    redis_server.flush()
    house, ids = builder.build(processes, postgres=postgres, redis=redis_server), count()
    house.apply(
        {
            "name": "orders",
            "state": "published",
            "auth": {"type": "none"},
            "deduplication": {"parameters": ["body.id"]},
        }
    )

    def send(number: int, receiver: int) -> int:
        return house.post("orders", {"id": number}, receiver=receiver).status_code

    def is_remembered(receiver: int) -> bool:
        """Send something new; tell whether Redis knows it by now."""
        number, known = next(ids), len(hashes(redis_server))
        assert [send(number, receiver), send(number, receiver)] == [200, 204]
        return len(hashes(redis_server)) > known

    first = house.serve()
    wait_until(lambda: is_remembered(0), seconds=20, what="hashes in Redis")
    before = next(ids)
    assert send(before, 0) == 200
    first.stop()
    clone = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": copy_of(house)}
    house.serve(env=clone)  # it goes on under the name that it has been given
    wait_until(lambda: is_remembered(1), seconds=20, what="the clone's hashes in Redis")
    of_clone = next(ids)
    assert send(of_clone, 1) == 200
    assert len({name for name, _ in hashes(redis_server)}) == 1
    house.serve()
    assert send(of_clone, 2) == 200
    wait_until(lambda: is_remembered(2), seconds=20, what="production's hashes in Redis")
    assert len({name for name, _ in hashes(redis_server)}) == 2
    for one, other in ((1, 2), (2, 1)):
        number = next(ids)
        assert [send(number, one), send(number, other), send(number, one)] == [200, 200, 204]
        assert send(before, one) == 204


def test_a_restart_cuts_no_window_short(
    builder: Builder, processes: Processes, redis_server: RedisServer
) -> None:
    """The database has seen a request up to a tenth of its window before Redis has: 4 of 40 seconds."""
    redis_server.flush()
    house = builder.build(processes, redis=redis_server)
    house.apply(
        {
            "name": "orders",
            "state": "published",
            "auth": {"type": "none"},
            "deduplication": {"parameters": ["body.id"], "window": "40s"},
        }
    )
    house.dispatch()
    receiver = house.serve()
    ids = count(2)

    def remembers() -> bool:
        return house.post("orders", {"id": next(ids)}).status_code == 200 and bool(hashes(redis_server))

    wait_until(remembers, seconds=20, what="hashes in Redis")
    first = monotonic()
    assert house.post("orders", {"id": 1}).status_code == 200
    sleep(first + 3.5 - monotonic())
    assert house.post("orders", {"id": 1}).status_code == 204
    receiver.stop()
    sleep(first + 33 - monotonic())
    house.serve()  # nobody else attends between its start and the request, or only just
    sleep(max(0.0, first + 40.2 - monotonic()))
    assert house.post("orders", {"id": 1}, receiver=1).status_code == 204
