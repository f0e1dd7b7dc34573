"""What a task process pays for importing us: no web framework, no database, no Redis."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("flask", "flask_appbuilder", "fastapi", "starlette", "sqlalchemy.orm", "redis", "alembic", "yaml")
HEAVY += ("phonenumbers",)
MODULES = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"
#: What every DAG file and every triggerer has imported before ours.
BEFORE = "import airflow.sdk, airflow.sdk.execution_time.task_runner, airflow.triggers.shared_stream"


def modules(*statements: str) -> set[str]:
    command = [sys.executable, "-W", "ignore", "-c", MODULES.format("; ".join((BEFORE, *statements)))]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@pytest.fixture(scope="module")
def without_us() -> set[str]:
    return modules()


@pytest.mark.parametrize("package", ["operators", "triggers"])
def test_importing_is_light(package: str, without_us: set[str]) -> None:
    """Because of us a task imports neither them nor our own rooms that have to do with them."""
    added = modules(f"import airflow_incoming.{package}") - without_us
    tops = {name.split(".")[0] for name in added}
    assert not [name for name in HEAVY if name in added or name in tops]
    assert not [name for name in added if name.startswith(("airflow.models", "airflow.providers"))]
    ours = {".".join(name.split(".")[:2]) for name in added if name.startswith("airflow_incoming.")}
    assert ours <= {
        "airflow_incoming.core",
        "airflow_incoming.operators",
        "airflow_incoming.settings",
        "airflow_incoming.stores",
        "airflow_incoming.triggers",
    }
