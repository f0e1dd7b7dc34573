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


@fault("integration published, suspended and resumed in mid-flight")
def integration_changes(stage: Stage) -> None:
    """Each receiver learns of a version up to a second late: two versions are live at once."""
    stage.open()
    with stage.load():
        for number in range(4):
            orders = {**INTEGRATIONS[0], "headers": [f"x-version-{number}"], "title": f"Version {number}"}
            stage.apply({**orders, "state": "suspended" if number % 2 else "published"})
            time.sleep(0.5)
        stage.apply({**INTEGRATIONS[0], "title": "The last"})
