"""What an older release left in Airflow's tables is made harmless, and nobody else's is touched."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import delete, select, update

from airflow_incoming.services.launch import AirflowLauncher, stored
from airflow_incoming.services.launch.stored import StoredValues
from tests.integration.launch.workbench import Workbench, make_event

POISON: dict[str, Any] = {"n": 2**64, "m": 1e300, "low": -1e19, "fine": 7, "nested": {"by hand": 1}}
HARMLESS = {"n": "18446744073709551616", "fine": 7, "nested": {"by hand": 1}}


def packed(value: Any) -> Any:
    """Return a value as one of Airflow's processes gets it from another."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def test_runs(bench: Workbench, launcher: AirflowLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are mended, also what has failed and may be cleared; those of others stay as they are."""
    monkeypatch.setattr(stored, "PIECE", 2)
    events = [make_event() for _ in range(5)]
    for event in events:
        bench.launch(launcher, event, POISON | {"_incoming.event_id": str(event.id)}, dags=("one_task",))
    failed, foreign = events[1], events[2]
    with bench.session() as session:
        of = DagRun.run_id.endswith
        session.execute(update(DagRun).where(of(str(failed.id))).values(state="failed"))
        session.execute(delete(TaskInstance).where(TaskInstance.run_id.endswith(str(foreign.id))))
        session.execute(update(DagRun).where(of(str(foreign.id))).values(run_id=f"manual__{foreign.id}"))
    values = StoredValues(bench.engine)
    while values.mend():
        pass
    for event in events:
        (run,) = bench.runs(event)
        if event is foreign:
            assert run.conf["n"] == 2**64
            continue
        conf = packed(run.conf)
        assert HARMLESS.items() <= conf.items()
        assert (float(conf["m"]), float(conf["low"])) == (1e300, -1e19)
        assert isinstance(conf["m"], str)


def test_asset_events(bench: Workbench) -> None:
    """Those of targets and of watchers; not those of others. What comes later is mended, too."""
    ours = POISON | {"_incoming.event_id": "1"}
    extras: list[dict[str, Any]] = [
        ours,
        {"from_trigger": True, "payload": ours},
        POISON,
        {"from_trigger": True, "payload": POISON},
    ]
    values = StoredValues(bench.engine)
    while values.mend():
        pass
    with bench.session() as session:
        asset_id = session.scalar(select(AssetModel.id).limit(1))
        made = [AssetEvent(asset_id=asset_id, extra=extra) for extra in extras]
        session.add_all(made)
        session.flush()
        ids = [event.id for event in made]
    while values.mend():
        pass
    with bench.session() as session:
        kept = [session.get_one(AssetEvent, key).extra for key in ids]
    assert HARMLESS.items() <= packed(kept[0]).items()
    assert HARMLESS.items() <= packed(kept[1])["payload"].items()
    assert kept[1]["from_trigger"] is True
    assert [kept[2]["n"], kept[3]["payload"]["n"]] == [2**64] * 2
