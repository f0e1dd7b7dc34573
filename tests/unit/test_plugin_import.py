"""What every Airflow process pays for our being installed, task processes too."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"flask", "flask_appbuilder", "fastapi", "starlette", "uvicorn", "redis", "alembic", "yaml", "jwt"}
#: What Airflow has imported by itself when it loads plugins in a worker.
BEFORE = "import json, sys, airflow.sdk, airflow.plugins_manager"
OURS = (
    "from airflow_incoming.provider import get_provider_info; get_provider_info()",
    "from airflow_incoming.plugin import IncomingPlugin",
)
TELL = "print(json.dumps(sorted(sys.modules)))"


def modules(*statements: str) -> set[str]:
    """Return what a fresh interpreter has imported after these statements."""
    command = [sys.executable, "-W", "ignore", "-c", "; ".join((BEFORE, *statements, TELL))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    """No web framework, no driver, no models: those wait until an api-server asks for the parts."""
    added = modules(*OURS) - modules()
    assert not {name for name in added if name.partition(".")[0] in HEAVY}
    assert not {name for name in added if name.startswith(("sqlalchemy", "airflow.models"))}
    ours = {name for name in added if name.startswith("airflow_incoming")}
    assert "airflow_incoming.plugin" in ours
    assert not {
        name for name in ours if name.startswith(("airflow_incoming.db", "airflow_incoming.services"))
    }
    assert not {
        name for name in ours if name.startswith(("airflow_incoming.web", "airflow_incoming.bootstrap"))
    }
