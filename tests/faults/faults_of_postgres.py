"""PostgreSQL away, hanging, locked, cut off in a COMMIT, full of others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg2
import pytest
from psycopg2 import extensions

from tests.faults.catalogue import again_and_again, fault
from tests.faults.limits import ACCEPT_TIMEOUT, TELLING, WAITING, Limits
from tests.faults.stage import Stage


@fault("PostgreSQL stopped for 3 s", short=True)
def postgres_stopped(stage: Stage) -> None:
    stage.everywhere()
    stage.open()
    with stage.load():
        stage.postgres.stop()
        time.sleep(3)
        stage.postgres.start()


@fault("PostgreSQL killed -9, recovers")
def postgres_killed(stage: Stage) -> None:
    stage.open()
    with stage.load():
        for _ in range(2):
            open_one = stage.connect()
            stage.postgres.kill()
            with pytest.raises(psycopg2.OperationalError):
                _ask(open_one)
            stage.postgres.start()
            time.sleep(1)


def _hanging(seconds: float) -> Limits:
    """Whoever asks while the database hangs waits for it; so does Airflow's health, which asks it, too."""
    return Limits(p99=min(seconds, ACCEPT_TIMEOUT) + TELLING, health=seconds + TELLING)


@fault("PostgreSQL hangs for 3 s", limits=_hanging(3))
def postgres_hangs(stage: Stage) -> None:
    _hang(stage, 3)


@fault("PostgreSQL hangs for longer than we wait (13 s)", limits=_hanging(13))
def postgres_hangs_long(stage: Stage) -> None:
    _hang(stage, 13)


def _hang(stage: Stage, seconds: float) -> None:
    stage.everywhere()
    stage.open()
    open_one = stage.connect()
    with stage.load(), ThreadPoolExecutor(1) as pool:
        stage.postgres.hang()
        began = time.monotonic()
        answer = pool.submit(_ask, open_one)
        time.sleep(seconds)
        assert not answer.done(), "the database answers on open connections"
        stage.postgres.go_on()
        assert answer.result(10) == 1
        assert time.monotonic() - began >= seconds
    open_one.close()


def _ask(connection: extensions.connection) -> object:
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        return next(iter(cursor.fetchone() or ()), None)


@fault("tables locked in turn, 1 s each", limits=WAITING)
def tables_locked(stage: Stage) -> None:
    stage.open()
    with stage.load():
        for table in (
            "incoming_event",
            "incoming_dedup",
            "incoming_revision",
            "dag_run",
            "incoming_integration",
        ):
            _lock(stage, table, 1)


@fault("our table locked for longer than we wait (7 s)", limits=WAITING)
def table_locked_long(stage: Stage) -> None:
    stage.open()
    with stage.load():
        _lock(stage, "incoming_event", 7)


def _lock(stage: Stage, table: str, seconds: float) -> None:
    connection = stage.connect()
    with connection.cursor() as cursor:
        cursor.execute("begin")
        cursor.execute(f"lock table {table} in access exclusive mode")
        time.sleep(seconds)
        cursor.execute("rollback")
    connection.close()


@fault("connection cut before the server has the COMMIT")
def commit_lost(stage: Stage) -> None:
    _cut_commits(stage, "lost")


@fault("connection cut before the COMMIT is answered", short=True)
def commit_unanswered(stage: Stage) -> None:
    _cut_commits(stage, "unanswered")


def _cut_commits(stage: Stage, how: str) -> None:
    stage.everywhere()
    proxy = stage.postgres_through_proxy()
    stage.open()
    with stage.load():
        proxy.commit = how  # type: ignore[assignment]
        time.sleep(4)
        proxy.commit = "passed"
    assert proxy.cuts > 10


#: Airflow's health asks the database over the same line, several times.
@fault("PostgreSQL far away (20 ms) and in slices of 50 bytes", limits=Limits(health=2.0))
def postgres_slow(stage: Stage) -> None:
    proxy = stage.postgres_through_proxy()
    stage.open()
    with stage.load():
        proxy.latency, proxy.slices = 0.02, 50
        time.sleep(4)
        proxy.latency, proxy.slices = 0, 0


@fault("PostgreSQL connections ended every 300 ms")
def postgres_hangs_up(stage: Stage) -> None:
    stage.open()
    with stage.load(), again_and_again(stage.hang_up, every=0.3):
        time.sleep(4)


@fault("PostgreSQL has too many connections")
def too_many_connections(stage: Stage) -> None:
    stage.open()
    taken = []
    with stage.load():
        end = time.monotonic() + 60
        first = stage.connect()
        hang_up = (
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid not in %s"
        )
        refused = 0
        while refused < 5 and time.monotonic() < end:
            try:
                taken.append(stage.connect())
            except psycopg2.OperationalError:
                refused += 1
                ours = tuple(each.info.backend_pid for each in (first, *taken))
                with first.cursor() as cursor:
                    cursor.execute(hang_up, (stage.database, ours))
        time.sleep(3)
        for each in (first, *taken):
            each.close()
    assert refused


@fault("serialization failures")
def serialization_failures(stage: Stage) -> None:
    stage.sql(f"alter database {stage.database} set default_transaction_isolation = serializable")
    stage.open()
    stage.serve()
    stage.dispatch()
    stage.wait_for_receivers()
    before = stage.postgres.errors("could not serialize access")
    with stage.load(repeated=0.6), again_and_again(stage.redis.flush, every=0.05):
        time.sleep(4)
    assert stage.postgres.errors("could not serialize access") > before


@fault("deadlocks", short=True, limits=WAITING)  # and meanwhile for somebody else's locks
def deadlocks(stage: Stage) -> None:
    """Somebody else locks the claims of hashes in the opposite order, and waits longer than we do."""
    stage.sql(f"alter database {stage.database} set deadlock_timeout = '200ms'")
    stage.redis.stop()
    stage.open()
    before = stage.postgres.errors("deadlock detected")
    rival, watcher = stage.connect(), stage.connect()
    with rival.cursor() as cursor:
        cursor.execute("set deadlock_timeout = '1min'")
    with stage.load(clients=16, rate=150, repeated=0.9):
        end = time.monotonic() + 60
        while stage.postgres.errors("deadlock detected") < before + 3 and time.monotonic() < end:
            with suppress(psycopg2.Error):
                _lock_backwards(rival, watcher)
    rival.close()
    watcher.close()
    assert stage.postgres.errors("deadlock detected") >= before + 3


def _lock_backwards(rival: extensions.connection, watcher: extensions.connection) -> None:
    """Lock the later half of the hashes in use; once somebody waits for one of them, the others too."""
    with rival.cursor() as cursor, watcher.cursor() as watching:
        cursor.execute("select hash from incoming_dedup order by last_seen_at desc limit 24")
        hashes = sorted((row[0] for row in cursor.fetchall()), reverse=True)
        cursor.execute("begin")
        try:
            _lock_claims(cursor, hashes[: len(hashes) // 2])
            for _ in range(50):
                watching.execute(_WAITING, (rival.info.backend_pid,))
                if watching.fetchone():
                    _lock_claims(cursor, hashes[len(hashes) // 2 :])
                    return
                time.sleep(0.01)
        finally:
            cursor.execute("rollback")


#: Whoever waits for what a session has locked.
_WAITING = "select 1 from pg_stat_activity where %s = any (pg_blocking_pids(pid))"


def _lock_claims(cursor: extensions.cursor, hashes: Sequence[str]) -> None:
    for hash_ in hashes:
        cursor.execute("update incoming_dedup set hash = hash where hash = %s", (hash_,))


@fault("PostgreSQL read-only (failed over to a replica)")
def postgres_read_only(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.sql(f"alter database {stage.database} set default_transaction_read_only = on")
        stage.hang_up()
        time.sleep(3)
        # The connections of a former primary go on to live, and to refuse.
        stage.postgres.sql(f"alter database {stage.database} set default_transaction_read_only = off")
