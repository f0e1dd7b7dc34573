"""Run inside an Airflow: writes down which routes its Flask application has, as its api-server mounts it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.providers.fab.www.app import create_app


def main() -> None:
    rules = [
        {
            "endpoint": rule.endpoint,
            "path": rule.rule,
            "methods": sorted((rule.methods or {"GET"}) - {"HEAD", "OPTIONS"}),
        }
        for rule in create_app(enable_plugins=True).url_map.iter_rules()
    ]
    Path(os.environ["AIRFLOW_HOME"], "routes.json").write_text(json.dumps(rules))


main()
