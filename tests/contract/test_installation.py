"""Two databases beside one Redis: a clone, or what was restored, never trusts the hashes of the other."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from threading import Barrier, BrokenBarrierError
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, update

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.db import tables
from airflow_incoming.db.engine import make_engine, reading, transaction
from airflow_incoming.services.diagnose import Diagnosis
from airflow_incoming.services.housekeeping import Housekeeping
from airflow_incoming.services.intake import Intake
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores import installation, integrations
from airflow_incoming.stores.dedup import Known, Memory, RedisDedup
from airflow_incoming.stores.directory import Directory
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.stores.installation import Installation, RedisWitnesses
from airflow_incoming.stores.own_memory import OwnMemory
from airflow_incoming.stores.redis_connection import connect, servers
from tests.contract.receiving import PlainCipher
from tests.contract.samples import make_event, random_hash
from tests.contract.test_dispatch import TableLauncher
from workbench.processes import wait_until
from workbench.redis import RedisCluster, RedisServer

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client


def utcnow() -> datetime:
    return datetime.now(timezone.utc)


class Place:
    """A process that receives, and the dispatcher's look at Redis, with one database."""

    def __init__(self, engine: Engine, client: Client, *, attends: bool = False) -> None:
        self.engine = engine
        attend = (lambda: installation.attend(self.engine, self.witnesses)) if attends else None
        self.directory = Directory(engine, PlainCipher(), max_age=0.0, attend=attend)
        self.memory = OwnMemory(lambda name: RedisDedup(client, prefix=f"test:{name}"), self.directory.memory)
        self.witnesses = RedisWitnesses(client, prefix="test")

    def attend(self) -> Installation:
        installation.attend(self.engine, self.witnesses)
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

    def seen_last(self, ago: timedelta) -> None:
        """Have it that the witness, and every hash, was last seen so long ago by what the database knows."""
        with transaction(self.engine) as connection:
            then = utcnow() - ago
            connection.execute(update(tables.installation).values(attended_at=then))
            connection.execute(update(tables.dedup).values(last_seen_at=then))

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
    """Before it decides anything: the database learns late of what Redis has seen since."""
    place = Place(engine, client).start()
    hash_, name = accept(place), place.installation().name
    for _ in range(3):
        place.seen_last(timedelta(days=8))
        restarted = Place(engine, client, attends=True)
        assert restarted.send(hash_) == "duplicate"
        assert restarted.installation().name == name


def test_a_restarted_process_that_has_seen_nobody_attend_trusts_nothing(
    engine: Engine, client: Client
) -> None:
    """Redis may be out of reach when it starts: then it trusts as soon as somebody has looked since."""
    hash_ = accept(Place(engine, client).start())
    restarted = Place(engine, client, attends=True)
    restarted.witnesses = RedisWitnesses(connect("redis://127.0.0.1:1/0"), prefix="test")
    assert not restarted.knows(hash_)
    assert restarted.send(hash_) == "duplicate"
    restarted.witnesses = RedisWitnesses(client, prefix="test")
    wait_until(lambda: restarted.knows(hash_), seconds=10, what="trust")


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
        def change(self, *arguments: Any) -> tuple[str, bool]:
            super().change(*arguments)
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
    hash_ = accept(place)
    for seconds, trusted in ((29, True), (31, False), (-3600, False)):
        place.seen_last(timedelta(seconds=seconds))
        assert place.knows(hash_) is trusted


def test_check_says_whether_the_hashes_are_ours(engine: Engine, client: Client) -> None:
    """And that the database decides alone where nobody knows."""

    def found() -> list[str]:
        diagnosis = Diagnosis(
            engine,
            PlainCipher(),
            clock=utcnow,
            read_address=lambda: "https://hooks.example.com/incoming",
            read_receivers=lambda: ["https://airflow.example.com/incoming"],
            connect_redis=lambda: servers(client),
            witnesses=RedisWitnesses(client, prefix="test"),
        )
        return [each.level for each in diagnosis.findings() if each.check == "hashes in redis"]

    assert found() == []
    place = Place(engine, client).start()
    assert found() == ["ok"]
    place.seen_last(timedelta(minutes=1))
    assert found() == ["warning"]


def test_check_says_that_another_database_has_the_same_prefix(
    engine: Engine, client: Client, copy: Callable[[], Engine]
) -> None:
    """Hashes are told apart, streams and claims aren't: both are named, wherever that is asked."""
    place = Place(engine, client).start()
    assert place.witnesses.others(place.installation().name) == []
    clone = Place(copy(), client)
    place.attend()
    clone.attend()
    names = {place.installation().name, clone.installation().name}
    for one in (place, clone):
        name = one.installation().name
        assert one.witnesses.others(name) == sorted(names - {name})
        diagnosis = Diagnosis(
            one.engine,
            PlainCipher(),
            clock=utcnow,
            read_address=str,
            read_receivers=list,
            connect_redis=lambda: servers(client),
            witnesses=one.witnesses,
        )
        (said,) = [each.detail for each in diagnosis.findings() if "redis_prefix" in each.detail]
        assert "Another database uses this Redis" in said


def test_check_says_what_it_knows_where_redis_is_out_of_reach(engine: Engine, client: Client) -> None:
    """Its server can't be looked at, which is said once; whose the hashes are is known to the database."""
    Place(engine, client).start()
    gone = connect("redis://127.0.0.1:1/0")
    diagnosis = Diagnosis(
        engine,
        PlainCipher(),
        clock=utcnow,
        read_address=str,
        read_receivers=list,
        connect_redis=lambda: servers(gone),
        witnesses=RedisWitnesses(gone, prefix="test"),
    )
    found = [(each.check, each.level) for each in diagnosis.findings() if "redis" in each.check]
    assert found == [("redis", "error"), ("hashes in redis", "ok")]


class Dies(Exception):
    """The process is killed."""


def test_a_commit_that_is_lost_costs_nothing(
    engine: Engine, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis has the new witness, the database hasn't: it was committed before that it may."""
    place = Place(engine, client).start()
    hash_, name = accept(place), place.installation().name

    class Deadly(RedisWitnesses):
        def change(self, *arguments: Any) -> tuple[str, bool]:
            super().change(*arguments)
            raise Dies

    place.witnesses = Deadly(client, prefix="test")
    with pytest.raises(Dies):
        place.attend()
    place.witnesses = RedisWitnesses(client, prefix="test")
    assert place.attend().name == name
    assert place.knows(hash_)
    assert "Another database" not in caplog.text


def test_production_and_a_copy_that_look_at_the_same_moment(
    engine: Engine, client: Client, copy: Callable[[], Engine]
) -> None:
    """One of them keeps the name, also where the copy was made while production changed its witness."""
    production = Place(engine, client).start()
    for broken in (False, True):
        if broken:
            production.witnesses = RedisWitnesses(connect("redis://127.0.0.1:1/0"), prefix="test")
            production.attend()
        clone = Place(copy(), client)
        together = Barrier(2)

        class Together(RedisWitnesses):
            def change(self, *arguments: Any) -> tuple[str, bool]:
                with suppress(BrokenBarrierError):
                    together.wait(1)  # noqa: B023  # used up before the next one is made
                return super().change(*arguments)

        production.witnesses = clone.witnesses = Together(client, prefix="test")
        with ThreadPoolExecutor(2) as threads:
            one, other = threads.map(Place.attend, (production, clone))
        assert one.name != other.name


def test_nothing_is_locked_while_redis_is_asked(engine: Engine, client: Client) -> None:
    """It may hang, and on SQLite nobody else could write meanwhile."""
    place = Place(engine, client).start()
    written = []

    class Hanging(RedisWitnesses):
        def change(self, *arguments: Any) -> tuple[str, bool]:
            with transaction(engine) as connection:
                written.append(connection.execute(update(tables.installation).values(id=1)).rowcount)
            raise RedisUnavailable("Redis: TimeoutError")

    place.witnesses = Hanging(client, prefix="test")
    assert place.attend().age is None
    assert written == [1]


def test_a_full_redis_goes_on_answering_what_it_knows(
    engine: Engine, client: Client, any_redis: RedisServer | RedisCluster
) -> None:
    """Who trusted it trusts it on; who starts doesn't, for nobody else was kept from going on."""
    place = Place(engine, client).start()
    hash_, name = accept(place), place.installation().name
    try:
        for server in servers(client):
            server.config_set("maxmemory", "1")
        place.seen_last(timedelta(minutes=1))
        assert place.attend().name == name
        assert place.knows(hash_)
        assert not Place(engine, client, attends=True).knows(hash_)
    finally:
        for server in servers(client):
            server.config_set("maxmemory", "0")
    place.attend()
    assert place.knows(hash_)
    assert place.installation().name == name


def test_a_redis_that_went_back_in_time_is_begun_anew(
    engine: Engine, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """What was forgotten since is known to it again; people learn that this may be the reason."""
    place = Place(engine, client).start()
    hash_, name = accept(place), place.installation().name
    before = place.installation().witness
    place.witnesses.change(name, before, [place.attend().witness])
    assert place.attend().name != name
    assert "Redis was restored or failed over" in caplog.text
    assert place.send(hash_) == "duplicate"


def test_a_hash_forgotten_before_the_name_changed_stays_forgotten(engine: Engine, client: Client) -> None:
    """A process that remembers late, under another name than it looked under, remembers nothing."""
    place = Place(engine, client).start()
    event = make_event(random_hash(), received_at=utcnow())
    assert event.claim is not None
    hash_, old = event.claim.hash, place.installation().name
    assert not place.knows(hash_)
    Inbox(engine).append([event], now=utcnow())
    desk = EventDesk(
        engine,
        OwnMemory(lambda name: RedisDedup(client, prefix=f"test:{name}"), lambda: (old, True)),
        clock=utcnow,
    )
    assert desk.forget(hash_, by=Trusted("test"))
    place.witnesses.change(old, "another's", [place.installation().witness])
    assert place.attend().name != old
    place.directory.fresh()
    place.memory.remember([Memory(hash_, Known(event.id, utcnow()), timedelta(days=7))])
    assert place.send(hash_) == "accepted"


@pytest.mark.parametrize("hours", [-1, 1])
def test_hosts_may_differ_about_the_time(engine: Engine, client: Client, hours: int) -> None:
    """What they do is dated by the database's clock alone."""
    place = Place(engine, client).start()
    hash_ = accept(place)
    place.seen_last(timedelta(minutes=1))
    assert not place.knows(hash_)
    Housekeeping(
        engine,
        TableLauncher(),
        clock=lambda: utcnow() + timedelta(hours=hours),
        event_retention=timedelta(days=30),
        dead_retention=timedelta(days=30),
        witnesses=place.witnesses,
    ).tick()
    assert place.knows(hash_)
    assert place.installation().is_attended(within=timedelta(seconds=20))
