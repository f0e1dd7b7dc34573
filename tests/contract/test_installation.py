"""Two databases beside one Redis: a clone, or what was restored, never trusts the hashes of the other."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, make_url

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.db.engine import make_engine, reading, transaction
from airflow_incoming.services.diagnose import Diagnosis
from airflow_incoming.services.intake import Intake
from airflow_incoming.stores import installation, integrations
from airflow_incoming.stores.dedup import RedisDedup
from airflow_incoming.stores.directory import Directory
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.stores.installation import Installation, RedisWitnesses
from airflow_incoming.stores.own_memory import OwnMemory
from airflow_incoming.stores.redis_connection import connect, servers
from tests.contract.receiving import PlainCipher
from tests.contract.samples import make_event, random_hash
from workbench.redis import RedisCluster, RedisServer

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client


def utcnow() -> datetime:
    return datetime.now(timezone.utc)


class Place:
    """A process that receives, and the dispatcher's look at Redis, with one database."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.engine = engine
        self.directory = Directory(engine, PlainCipher(), max_age=0.0)
        self.memory = OwnMemory(
            lambda name: RedisDedup(client, prefix=f"test:{name}"), lambda: self.directory.memory(utcnow())
        )
        self.witnesses = RedisWitnesses(client, prefix="test")

    def attend(self) -> Installation:
        with transaction(self.engine) as connection:
            installation.attend(connection, self.witnesses, now=utcnow())
        return self.installation()

    def installation(self) -> Installation:
        with reading(self.engine) as connection:
            found = installation.read(connection)
        assert found is not None
        return found

    def start(self) -> Place:
        """Receive; a dispatcher looks, before and after the first request."""
        self.attend()
        self.directory.fresh()
        self.attend()
        return self

    def send(self, hash_: str) -> str:
        future: Future[Any] = Future()
        self.directory.fresh()
        event = make_event(hash_, received_at=utcnow())
        Intake(Inbox(self.engine), self.memory, clock=utcnow).take_in([(event, future)])
        return str(future.result(0).status)

    def knows(self, hash_: str) -> bool:
        """Tell whether Redis is trusted, and knows a hash."""
        self.directory.fresh()
        return hash_ in self.memory.look({hash_: timedelta(days=7)})


@pytest.fixture(autouse=True)
def _something_was_made(engine: Engine) -> None:
    """Receivers ask for the revision, and without one nothing else."""
    with transaction(engine) as connection:
        integrations.bump(connection)


@pytest.fixture
def client(any_redis: RedisServer | RedisCluster) -> Iterator[Client]:
    client = connect(any_redis.url)
    yield client
    client.close()


@pytest.fixture
def copy(engine: Engine, database_url: str, request: pytest.FixtureRequest) -> Iterator[Callable[[], Engine]]:
    """What makes another database of this one, as it is now."""
    made: list[Engine] = []

    def copied() -> Engine:
        engine.dispose()
        url = make_url(database_url)
        name = f"{url.database}_{len(made)}"
        if engine.dialect.name == "sqlite":
            shutil.copy(str(url.database), name)
        elif engine.dialect.name == "postgresql":
            server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
            with server.connect() as connection:
                connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{url.database}"')
            server.dispose()
        else:
            pytest.skip("copied by a dump")
        made.append(make_engine(url.set(database=name).render_as_string(hide_password=False)))
        return made[-1]

    yield copied
    for one in made:
        one.dispose()
        if one.dialect.name == "postgresql":
            request.getfixturevalue("postgres_server").drop_database(
                one.url.render_as_string(hide_password=False)
            )


def accept(place: Place) -> str:
    """Have a new hash accepted; return it."""
    hash_ = random_hash()
    assert [place.send(hash_), place.send(hash_)] == ["accepted", "duplicate"]
    return hash_


def test_a_clone_that_comes_beside_production(
    engine: Engine, client: Client, copy: Callable[[], Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """What either accepts since is new to the other; what both have is a duplicate in both."""
    production = Place(engine, client).start()
    before = accept(production)
    clone = Place(copy(), client)
    production.attend()
    after = accept(production)
    with caplog.at_level(logging.WARNING):
        clone.start()
    assert "Another database has used this one's name" in caplog.text
    assert clone.installation().name != production.attend().name
    assert clone.send(after) == "accepted"
    assert production.send(accept(clone)) == "accepted"
    assert [clone.send(before), production.send(before)] == ["duplicate", "duplicate"]
    assert production.knows(after)


def test_a_clone_that_comes_first(engine: Engine, client: Client, copy: Callable[[], Engine]) -> None:
    """Production was stopped, copied, and is started later: then it's production that takes another name."""
    production = Place(engine, client).start()
    before, name = accept(production), production.installation().name
    clone = Place(copy(), client).start()
    assert clone.installation().name == name
    assert clone.knows(before)
    after = accept(clone)
    restarted = Place(engine, client).start()
    assert restarted.installation().name != name
    assert restarted.send(after) == "accepted"
    assert restarted.send(before) == "duplicate"
    assert clone.send(accept(restarted)) == "accepted"
    assert clone.attend().name == name


def test_a_clone_beside_production_that_goes_on(
    engine: Engine, client: Client, copy: Callable[[], Engine]
) -> None:
    """Production notices with its next look, and its receivers as soon."""
    production = Place(engine, client).start()
    before = accept(production)
    clone = Place(copy(), client).start()
    production.attend()
    assert production.installation().name != clone.attend().name
    assert production.send(accept(clone)) == "accepted"
    assert clone.send(accept(production)) == "accepted"
    assert production.send(before) == "duplicate"


def test_a_database_restored_from_a_backup(
    engine: Engine, client: Client, copy: Callable[[], Engine]
) -> None:
    """It has lost an event that Redis knows: who sends it again isn't told that we have it."""
    production = Place(engine, client).start()
    backup = copy()
    production.attend()
    lost = accept(production)
    restored = Place(backup, client).start()
    assert restored.send(lost) == "accepted"


def test_a_restarted_process_knows_what_was_known(engine: Engine, client: Client) -> None:
    """As soon as a dispatcher has looked since its start; until then the database decides."""
    hash_ = accept(Place(engine, client).start())
    restarted = Place(engine, client)
    assert not restarted.knows(hash_)
    assert restarted.send(hash_) == "duplicate"
    restarted.attend()
    assert restarted.knows(hash_)
    assert all(Place(engine, client).start().knows(hash_) for _ in range(3))


def test_many_dispatchers_are_one_database(engine: Engine, client: Client) -> None:
    """However they look at the same time, first or later: the name stays."""
    places = [Place(engine, client) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        names = {found.name for found in threads.map(Place.attend, places * 10)}
    assert len(names) == 1


def test_redis_out_of_reach_is_not_trusted_until_it_was_looked_at(engine: Engine, client: Client) -> None:
    """Nor is the name lost, whether or not what was sent last has reached it."""
    place = Place(engine, client).start()
    hash_, name = accept(place), place.installation().name

    class Unanswered(RedisWitnesses):
        def write(self, name: str, witness: str) -> None:
            super().write(name, witness)
            raise RedisUnavailable("Redis: TimeoutError")

    gone = RedisWitnesses(connect("redis://127.0.0.1:1/0"), prefix="test")
    for broken in (gone, Unanswered(client, prefix="test"), gone, Unanswered(client, prefix="test")):
        place.witnesses = broken
        place.attend()
        assert not place.knows(hash_)
        assert place.send(hash_) == "duplicate"
    place.witnesses = RedisWitnesses(client, prefix="test")
    assert place.attend().name == name
    assert place.knows(hash_)


def test_an_emptied_redis_is_begun_anew(
    engine: Engine, client: Client, any_redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A node of a cluster may have lost the witness, and another one kept hashes; nobody is to be warned."""
    place = Place(engine, client).start()
    hash_, name = accept(place), place.installation().name
    any_redis.flush()
    assert place.attend().name != name
    assert place.send(hash_) == "duplicate"
    assert place.knows(hash_)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_without_a_dispatcher_the_database_decides(engine: Engine, client: Client) -> None:
    """Nobody says whose the hashes are: before the first, and half a minute after the last."""
    place = Place(engine, client)
    hash_ = random_hash()
    assert [place.send(hash_), place.send(hash_)] == ["accepted", "duplicate"]
    assert not place.knows(hash_)
    place.start()
    with pytest.raises(RedisUnavailable):
        OwnMemory(lambda _: place.memory, lambda: ("name", False)).peek([hash_])
    assert place.installation().is_attended(utcnow() + timedelta(seconds=29))
    assert not place.installation().is_attended(utcnow() + timedelta(seconds=31))


def test_check_says_whether_the_hashes_are_ours(engine: Engine, client: Client) -> None:
    """And that the database decides alone where nobody knows."""

    def found(after: timedelta) -> list[str]:
        diagnosis = Diagnosis(
            engine,
            PlainCipher(),
            clock=lambda: utcnow() + after,
            read_address=lambda: "https://hooks.example.com/incoming",
            read_receivers=lambda: ["https://airflow.example.com/incoming"],
            connect_redis=lambda: servers(client),
        )
        return [each.level for each in diagnosis.findings() if each.check == "hashes in redis"]

    assert found(timedelta()) == []
    Place(engine, client).start()
    assert found(timedelta()) == ["ok"]
    assert found(timedelta(minutes=1)) == ["warning"]
