"""Runs that were made together are executed by a real scheduler, like any others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer

EVENTS = 4


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def house(
    request: pytest.FixtureRequest, builder: Builder, processes: Processes, redis_server: RedisServer
) -> Iterator[House]:
    """An api-server that receives and dispatches, and a scheduler that executes."""
    postgres = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    house = builder.build(processes, postgres=postgres, redis=redis_server)
    house.apply({"name": "orders", "state": "published", "dags": ["one", "pipeline"]})
    house.api_server()
    yield house
    processes.stop()


@pytest.mark.timeout(900)
def test_runs_made_together_succeed(house: House, processes: Processes) -> None:
    """Every task of every run, with the data of its event."""
    for number in range(EVENTS):
        assert house.post("orders", {"order": {"id": number}}).status_code == 200
    wait_until(lambda: house.waiting() == 0, seconds=60, what="the events to be dispatched")
    # What Airflow's own way writes into the log for every run.
    assert "creating dag run" not in (house.airflow.home / "api-server.log").read_text()
    scheduler = processes.start(house.airflow.component("scheduler"))
    scheduler.wait_until(lambda: ended(house) == 2 * EVENTS, seconds=600, what="done")
    states = Counter(house.sql("select dag_id, state from dag_run"))
    assert states == {("one", "success"): EVENTS, ("pipeline", "success"): EVENTS}
    tasks = Counter(row[0] for row in house.sql("select state from task_instance"))
    assert tasks == {"success": EVENTS * (1 + 5)}
    texts = house.sql("select value from xcom where task_id = 'work.write' and key = 'return_value'")
    assert sorted(str(text).strip('"') for (text,) in texts) == [f"{n} none" for n in range(EVENTS)]


def ended(house: House) -> int:
    return int(house.sql("select count(*) from dag_run where state in ('success', 'failed')")[0][0])
