"""Disks and processes."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.catalogue import again_and_again, fault
from tests.faults.limits import RESTARTING, WAITING
from tests.faults.stage import Stage
from workbench.processes import wait_until


@fault("no fault")
def nothing(stage: Stage) -> None:
    stage.open()
    with stage.load():
        time.sleep(3)


@fault("disk full")
def disk_full(stage: Stage) -> None:
    """The table of events lies on a small file system, which is filled for three seconds."""
    folder = Path(tempfile.mkdtemp(prefix="incoming-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("a file system can't be mounted here")
    owner = (stage.postgres.directory / "data").stat().st_uid
    os.chown(folder, owner, owner)
    name = f"small_{uuid4().hex}"
    before = stage.postgres.errors("No space left on device")
    try:
        stage.sql(f"create tablespace {name} location '{folder}'")
        stage.sql(f"alter table incoming_event set tablespace {name}")
        stage.open()
        with stage.load():
            with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"\0" * 4096):
                    pass
            time.sleep(3)
            (folder / "filler").unlink()
        stage.settle()
        stage.sql("alter table incoming_event set tablespace pg_default")
        stage.sql(f"drop tablespace {name}")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()
    assert stage.postgres.errors("No space left on device") > before


@fault(
    "SQLite busy: somebody else writes half the time",
    short=True,
    sqlite=True,
    limits=WAITING,  # one writer at a time, whoever it is
)
def sqlite_busy(stage: Stage) -> None:
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


@fault("kill -9 at random", short=True, limits=RESTARTING)
def random_kills(stage: Stage) -> None:
    _kill_at_random(stage, 8)


@fault("200 × kill -9 at random", limits=RESTARTING)
def many_random_kills(stage: Stage) -> None:
    _kill_at_random(stage, 200)


def _kill_at_random(stage: Stage, kills: int) -> None:
    stage.everywhere()
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


@fault("SIGTERM to each process", short=True, limits=RESTARTING)
def sigterm(stage: Stage) -> None:
    """Whatever was stored was answered, too: each order that somebody knows was accepted once."""
    stage.open()
    with stage.load():
        for child in (stage.receivers[1], stage.dispatchers[0], stage.receivers[0]):
            time.sleep(0.5)
            child.send(15)
            wait_until(lambda child=child: not child.alive, seconds=60, what="it to end", every=0.02)
            child.start()
    told: defaultdict[str, set[int]] = defaultdict(set)
    for attempt in stage.ledger.attempts():
        if attempt.integration == "orders":
            told[attempt.key].add(attempt.status)
    assert [key for key, statuses in told.items() if 200 not in statuses] == []


@fault("Redis silent, PostgreSQL restarted, receivers killed", limits=RESTARTING)
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


@fault("COMMITs unanswered, Redis flushed, kill -9 at random", short=True, limits=RESTARTING)
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
