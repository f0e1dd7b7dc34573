"""What goes wrong between an event and the runs of the DAGs that an asset, or its watcher, starts."""

from __future__ import annotations

import time

from tests.faults.catalogue import fault
from tests.faults.limits import RESTARTING
from tests.faults.stage import CONSUMERS, Stage


@fault("triggerer killed while events are watched", short=True, limits=RESTARTING)
def triggerer_killed(stage: Stage) -> None:
    """Others take its triggers over when its sign of life is old enough."""
    stage.with_consumers()
    stage.open(api_server=False)
    with stage.load(integrations=CONSUMERS):
        for _ in range(2):
            time.sleep(1.5)
            assert stage.triggerer is not None
            stage.triggerer.send(9)
            stage.triggerer.start()
    stage.settle()


@fault("scheduler and dispatcher killed", limits=RESTARTING)
def scheduler_killed(stage: Stage) -> None:
    stage.with_consumers()
    stage.open(api_server=False)
    with stage.load(integrations=CONSUMERS):
        for _ in range(3):
            for child in (stage.scheduler, stage.dispatchers[0]):
                assert child is not None
                time.sleep(0.7)
                child.send(9)
                child.start()
    stage.settle()


@fault("consumers paused and unpaused in mid-flight", short=True, limits=RESTARTING)
def consumers_paused(stage: Stage) -> None:
    stage.with_consumers()
    stage.open(api_server=False)
    with stage.load(integrations=CONSUMERS):
        for paused in ("true", "false", "true"):
            stage.sql(f"update dag set is_paused = {paused} where dag_id like 'on!_%' escape '!'")
            time.sleep(1.5)
    stage.sql("update dag set is_paused = false where dag_id like 'on!_%' escape '!'")
    stage.settle()


@fault("consumers on SQLite", sqlite=True, limits=RESTARTING)
def on_sqlite(stage: Stage) -> None:
    stage.with_consumers()
    stage.open(api_server=False)
    with stage.load(integrations=CONSUMERS, rate=20):
        time.sleep(3)
    stage.settle()
