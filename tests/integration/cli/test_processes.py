"""The commands as processes: what no in-process run can show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.house import House, free_port
from workbench.airflow import Airflow
from workbench.environment import clean_environ
from workbench.processes import Processes

PATIENCE = 60


def airflow(house: House) -> str:
    return str(house.airflow._environment.binary("airflow"))


def test_a_listing_is_json_and_nothing_else(house: House) -> None:
    """Whatever Airflow says while it starts is no part of the result."""
    done = house.airflow.run("incoming", "list", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)


def test_a_home_that_was_never_migrated_is_told_what_to_run(house: House, tmp_path: Path) -> None:
    """Exit code 3, one sentence; standard output stays empty though Airflow makes its first files."""
    env = clean_environ() | {"AIRFLOW_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [airflow(house), "incoming", "list", "-o", "json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].startswith("error: The tables of airflow-incoming are missing")
    assert done.stderr.splitlines()[-1].endswith("Run: airflow db migrate")


def test_a_reader_that_has_seen_enough_is_no_error(house: House) -> None:
    """``airflow incoming list | true`` doesn't complain."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [airflow(house), "incoming", "list"],
            env=house.airflow.env,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    finally:
        os.close(write)
    assert (done.returncode, "BrokenPipe" in done.stderr) == (0, False)


def test_a_dispatcher_stops_when_it_is_told_to(house: House) -> None:
    """SIGTERM finishes the batch in hand and ends with 0; the dispatcher takes its leave."""
    with Processes() as processes:
        process = processes.start(house.airflow.process("stopped", "incoming", "dispatch"))
        process.wait_until(
            lambda: bool(house.sql("select 1 from incoming_dispatcher")), seconds=PATIENCE, what="beating"
        )
        process.send(signal.SIGTERM)
        assert process._popen is not None
        assert process._popen.wait(PATIENCE) == 0
    assert house.sql("select 1 from incoming_dispatcher") == []


def test_a_dispatcher_without_a_database_is_told_so(house: House, tmp_path: Path) -> None:
    """``--once`` ends with 3 where nothing can be read."""
    nowhere = Airflow(
        house.airflow._environment,
        tmp_path,
        port=free_port(),
        keys={},
        database=f"sqlite:///{tmp_path}/absent/airflow.db",
    )
    done = nowhere.run("incoming", "dispatch", "--once")
    assert (done.returncode, done.stdout) == (3, "")
    assert "error: The metadata database is unavailable: unable to open database file" in done.stderr
