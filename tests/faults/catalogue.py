"""The faults, each as a play on a stage: what is started, what goes wrong under load."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import psycopg2
from redis.exceptions import RedisError

from tests.faults.stage import REDIS, Stage
from workbench.processes import free_port, wait_until

Play = Callable[[Stage], None]


@dataclass(frozen=True)
class Fault:
    """``short``: it is part of the selection that every test run plays."""

    name: str
    play: Play
    short: bool
    sqlite: bool


FAULTS: list[Fault] = []


def fault(name: str, *, short: bool = False, sqlite: bool = False) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        FAULTS.append(Fault(name, play, short, sqlite))
        return play

    return add


@contextmanager
def again_and_again(act: Callable[[], object], *, every: float) -> Iterator[None]:
    """Do something in a thread during the block, whatever becomes of it."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(every):
            with suppress(RedisError, psycopg2.Error):
                act()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)


@fault("no fault", short=True)
def nothing(stage: Stage) -> None:
    stage.open()
    with stage.load():
        time.sleep(3)


# Redis


@fault("Redis refused (killed, started empty)", short=True)
def redis_refused(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis.kill()
        time.sleep(3)
        stage.redis.start()


@fault("Redis silent", short=True)
def redis_silent(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis.hang()
        time.sleep(4)
        stage.redis.go_on()


@fault("Redis slow (100 ms each way)")
def redis_slow(stage: Stage) -> None:
    proxy = stage.redis_through_proxy()
    stage.open()
    with stage.load():
        proxy.latency = 0.1
        time.sleep(4)
        proxy.latency = 0


@fault("Redis in slices of 2 bytes, 20 ms apart")
def redis_sliced(stage: Stage) -> None:
    proxy = stage.redis_through_proxy()
    stage.open()
    with stage.load():
        proxy.slices, proxy.pause = 2, 0.02
        time.sleep(4)
        proxy.slices = 0


@fault("Redis connections cut every 200 ms")
def redis_cut(stage: Stage) -> None:
    proxy = stage.redis_through_proxy()
    stage.open()
    with stage.load(), again_and_again(proxy.cut, every=0.2):
        time.sleep(4)


@fault("Redis out of memory (noeviction)", short=True)
def redis_out_of_memory(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis_client.config_set("maxmemory", "1")
        time.sleep(3)
        stage.redis_client.config_set("maxmemory", "0")


@fault("Redis evicting (allkeys-random)")
def redis_evicting(stage: Stage) -> None:
    stage.open()
    before = stage.redis_client.info("stats")["evicted_keys"]
    with stage.load(repeated=0.6):
        stage.redis_client.config_set("maxmemory-policy", "allkeys-random")
        stage.redis_client.config_set("maxmemory", str(stage.redis_client.info("memory")["used_memory"]))
        time.sleep(3)
        stage.redis_client.config_set("maxmemory", "0")
        stage.redis_client.config_set("maxmemory-policy", "noeviction")
    assert stage.redis_client.info("stats")["evicted_keys"] > before


@fault("Redis flushed 20 times a second")
def redis_flushed(stage: Stage) -> None:
    stage.open()
    with stage.load(repeated=0.6), again_and_again(stage.redis.flush, every=0.05):
        time.sleep(3)


@fault("Redis read-only (a replica)")
def redis_read_only(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis_client.replicaof("127.0.0.1", free_port())
        time.sleep(3)
        stage.redis_client.replicaof("NO", "ONE")


@fault("Redis with garbage at our keys", short=True)
def redis_garbage(stage: Stage) -> None:
    spoiled = 0

    def spoil() -> None:
        nonlocal spoiled
        for key in stage.redis_client.scan_iter(f"{stage.house.airflow.env['AIRFLOW__INCOMING__REDIS_PREFIX']}:*"):
            stage.redis_client.delete(key)
            if random.random() < 0.5:
                stage.redis_client.lpush(key, "not ours")
            else:
                stage.redis_client.set(key, random.choice(["", "x:y", "\xff", f"{uuid4().hex}:1e400"]))
            spoiled += 1

    stage.open()
    with stage.load(repeated=0.6), again_and_again(spoil, every=0.05):
        time.sleep(3)
    assert spoiled > 20


@fault("Redis with another password")
def redis_password(stage: Stage) -> None:
    redis = stage.redis_client
    redis.acl_setuser("incoming", enabled=True, passwords=["+right"], keys=["*"], categories=["+@all"])
    stage.env[REDIS] = stage.redis.url.replace("redis://", "redis://incoming:right@")
    stage.open()
    with stage.load():
        redis.acl_setuser("incoming", enabled=True, reset_passwords=True, passwords=["+wrong"])
        redis.client_kill_filter(_type="normal", skipme=True)
        time.sleep(3)
        redis.acl_setuser("incoming", enabled=True, reset_passwords=True, passwords=["+right"])
    assert "AuthenticationError" in stage.logs()


# PostgreSQL


@fault("PostgreSQL stopped for 3 s", short=True)
def postgres_stopped(stage: Stage) -> None:
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
            stage.postgres.kill()
            stage.postgres.start()
            time.sleep(1)


@fault("PostgreSQL hangs for 3 s")
def postgres_hangs(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.postgres.hang()
        time.sleep(3)
        stage.postgres.go_on()


@fault("tables locked in turn, 1 s each")
def tables_locked(stage: Stage) -> None:
    stage.open()
    with stage.load():
        for table in ("incoming_event", "incoming_dedup", "incoming_revision", "dag_run", "incoming_integration"):
            _lock(stage, table, 1)


@fault("our table locked for longer than we wait (7 s)")
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


@fault("connection cut before the server has the COMMIT", short=True)
def commit_lost(stage: Stage) -> None:
    _cut_commits(stage, "lost")


@fault("connection cut before the COMMIT is answered", short=True)
def commit_unanswered(stage: Stage) -> None:
    _cut_commits(stage, "unanswered")


def _cut_commits(stage: Stage, how: str) -> None:
    proxy = stage.postgres_through_proxy()
    stage.open()
    with stage.load():
        proxy.commit = how  # type: ignore[assignment]
        time.sleep(4)
        proxy.commit = "passed"
    assert proxy.cuts > 10


@fault("PostgreSQL far away (20 ms) and in slices of 50 bytes")
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


@fault("PostgreSQL has too many connections", short=True)
def too_many_connections(stage: Stage) -> None:
    stage.open()
    taken = []
    with stage.load():
        end = time.monotonic() + 4
        first = stage.connect()
        hang_up = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{stage.database}' and pid not in %s"
        refused = 0
        while time.monotonic() < end:
            try:
                taken.append(stage.connect())
            except psycopg2.OperationalError:
                refused += 1
                ours = tuple(each.info.backend_pid for each in (first, *taken))
                with first.cursor() as cursor:
                    cursor.execute(hang_up, (ours,))
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


@fault("deadlocks", short=True)
def deadlocks(stage: Stage) -> None:
    """Somebody else locks the claims of hashes in the opposite order."""
    stage.sql(f"alter database {stage.database} set deadlock_timeout = '50ms'")
    stage.redis.stop()
    stage.open()
    before = stage.postgres.errors("deadlock detected")
    rival = stage.connect()

    def lock_backwards() -> None:
        with rival.cursor() as cursor:
            cursor.execute("select hash from incoming_dedup order by last_seen_at desc limit 12")
            hashes = sorted((row[0] for row in cursor.fetchall()), reverse=True)
            cursor.execute("begin")
            try:
                for hash_ in hashes:
                    cursor.execute("update incoming_dedup set hash = hash where hash = %s", (hash_,))
                    time.sleep(0.005)
            finally:
                cursor.execute("rollback")

    with stage.load(clients=16, rate=200, repeated=0.9), again_and_again(lock_backwards, every=0.01):
        time.sleep(5)
    rival.close()
    assert stage.postgres.errors("deadlock detected") > before


@fault("PostgreSQL read-only (failed over to a replica)", short=True)
def postgres_read_only(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.sql(f"alter database {stage.database} set default_transaction_read_only = on")
        stage.hang_up()
        time.sleep(3)
        # The connections of a former primary go on to live, and to refuse.
        stage.postgres.sql(f"alter database {stage.database} set default_transaction_read_only = off")


@fault("SQLite busy: somebody else writes half the time", short=True, sqlite=True)
def sqlite_busy(stage: Stage) -> None:
    import sqlite3

    stage.open()
    path = stage.house.airflow.database.removeprefix("sqlite:///")
    rival = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)

    def write() -> None:
        rival.execute("begin immediate")
        time.sleep(0.3)
        rival.execute("rollback")

    with stage.load(rate=30), again_and_again(write, every=0.3):
        time.sleep(5)
    rival.close()


# Processes


@fault("kill -9 at random", short=True)
def random_kills(stage: Stage) -> None:
    _kill_at_random(stage, 20)


@fault("200 × kill -9 at random")
def many_random_kills(stage: Stage) -> None:
    _kill_at_random(stage, 200)


def _kill_at_random(stage: Stage, kills: int) -> None:
    stage.open()
    stage.serve()
    stage.dispatch()
    stage.wait_for_receivers()
    with stage.load():
        for _ in range(kills):
            child = random.choice(stage.receivers[1:] * 3 + stage.dispatchers * 3 + stage.receivers[:1])
            child.send(9)
            child.start()
            time.sleep(random.uniform(0.1, 0.7))


@fault("SIGTERM under load, five times", short=True)
def sigterm(stage: Stage) -> None:
    stage.open()
    with stage.load():
        for child in (stage.receivers[1], stage.dispatchers[0], stage.receivers[0]) * 2:
            time.sleep(0.5)
            child.send(15)
            wait_until(lambda child=child: not child.alive, seconds=15, what="it to end", every=0.02)
            child.start()
    assert "did not stop cleanly" not in stage.logs()


# DAGs and integrations


@fault("DAG deleted, broken and paused in mid-flight", short=True)
def dag_changes(stage: Stage) -> None:
    stage.open()
    broken = (
        "insert into import_error (timestamp, filename, bundle_name, stacktrace) select now(), relative_fileloc,"
        " bundle_name, 'broken' from dag where dag_id = 'two'"
    )
    with stage.load():
        for begin, end in (
            ("update dag set is_stale = true where dag_id = 'two'", "update dag set is_stale = false"),
            (f"{broken}; update dag set has_import_errors = true", "delete from import_error; update dag set has_import_errors = false"),
            ("update dag set is_paused = true where dag_id = 'two'", "update dag set is_paused = false"),
        ):
            stage.sql(begin)
            time.sleep(1)
            stage.sql(end)


@fault("integration published, suspended and resumed in mid-flight", short=True)
def integration_changes(stage: Stage) -> None:
    """Each receiver learns of a version up to a second late: two versions are live at once."""
    from tests.faults.stage import INTEGRATIONS

    stage.open()
    with stage.load():
        for number in range(4):
            orders = {**INTEGRATIONS[0], "headers": [f"x-version-{number}"], "title": f"Version {number}"}
            stage.apply({**orders, "state": "suspended" if number % 2 else "published"})
            time.sleep(0.5)
        stage.apply({**INTEGRATIONS[0], "title": "The last"})


# Together


@fault("Redis silent, PostgreSQL restarted, receivers killed")
def together(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis.hang()
        time.sleep(1)
        stage.postgres.stop()
        for child in (stage.receivers[1], stage.dispatchers[0]):
            child.send(9)
        stage.postgres.start()
        for child in (stage.receivers[1], stage.dispatchers[0]):
            child.start()
        time.sleep(2)
        stage.redis.go_on()


@fault("COMMITs unanswered, Redis flushed, kill -9 at random", short=True)
def together_again(stage: Stage) -> None:
    proxy = stage.postgres_through_proxy()
    stage.open()
    stage.serve()
    with stage.load(repeated=0.5), again_and_again(stage.redis.flush, every=0.1):
        proxy.commit = "unanswered"
        for _ in range(8):
            time.sleep(0.7)
            child = random.choice(stage.receivers[1:] + stage.dispatchers)
            child.send(9)
            child.start()
        proxy.commit = "passed"
    assert proxy.cuts
