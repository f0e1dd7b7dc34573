"""DAGs and integrations that change while events come and runs are made."""

from __future__ import annotations

import shutil
import time

from tests.faults.catalogue import fault
from tests.faults.stage import INTEGRATIONS, Stage
from tests.house import DAGS


@fault("DAG deleted, broken and paused in mid-flight", short=True)
def dag_changes(stage: Stage) -> None:
    stage.open()
    broken = (
        "insert into import_error (timestamp, filename, bundle_name, stacktrace)"
        " select now(), relative_fileloc, bundle_name, 'broken' from dag where dag_id = 'two';"
        " update dag set has_import_errors = true"
    )
    repaired = "delete from import_error; update dag set has_import_errors = false"
    with stage.load():
        for begin, end in (
            ("update dag set is_stale = true where dag_id = 'two'", "update dag set is_stale = false"),
            (broken, repaired),
            ("update dag set is_paused = true where dag_id = 'two'", "update dag set is_paused = false"),
        ):
            stage.sql(begin)
            time.sleep(1)
            stage.sql(end)


@fault("DAG changed in mid-flight")
def dag_changed(stage: Stage) -> None:
    """New versions of a DAG are parsed while runs of it are made."""
    folder = stage.house.airflow.home / "dags"
    shutil.copytree(DAGS, folder)
    stage.env["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)
    stage.open()
    with stage.load(rate=40):
        for number in range(2):
            file = folder / "targets.py"
            file.write_text(file.read_text().replace("nothing", f"nothing{number}"))
            stage.run("dags", "reserialize")
    versions = stage.sql("select count(distinct created_dag_version_id) from dag_run where dag_id = 'one'")
    assert int(versions) > 1


@fault("integration published, suspended and resumed in mid-flight", short=True)
def integration_changes(stage: Stage) -> None:
    """Each receiver learns of a version up to a second late: two versions are live at once."""
    stage.open()
    stage.serve()
    stage.wait_for_receivers()
    with stage.load(rate=90):
        for number in range(20):
            orders = {**INTEGRATIONS[0], "headers": [f"x-version-{number}"], "title": f"Version {number}"}
            stage.apply({**orders, "state": "suspended" if number % 2 else "published"})
            time.sleep(0.5)
            if number and _two_at_once(stage):
                break
        stage.apply({**INTEGRATIONS[0], "title": "The last"})
    assert _two_at_once(stage), "no two receivers had different versions at the same time"


def _two_at_once(stage: Stage) -> bool:
    """Tell whether an event came under a version after another one had come under a later version."""
    count = stage.sql(
        "with taken as (select e.received_at, v.number from incoming_event e"
        " join incoming_version v on v.id = e.version_id where e.integration = 'orders')"
        " select count(*) from taken a join taken b on a.number < b.number and a.received_at > b.received_at"
    )
    return int(count) > 0
