"""What Airflow learns about us without importing anything else: configuration, tables, commands."""

from __future__ import annotations

from typing import Any

from airflow_incoming.settings import OPTIONS, VERSION_ADDED


def get_provider_info() -> dict[str, Any]:
    """Return the provider's declaration, read by Airflow's ProvidersManager."""
    return {
        "package-name": "airflow-incoming",
        "name": "Incoming",
        "description": "Webhooks for Airflow: an external system posts JSON, a workflow starts.",
        "config": {
            "incoming": {
                "description": "Webhooks (airflow-incoming). Sizes are written like 1MiB, durations like 7d.",
                "options": {
                    name: {
                        "description": option.description,
                        "version_added": VERSION_ADDED,
                        "type": option.type,
                        "example": option.example,
                        "default": option.default,
                        "sensitive": option.sensitive,
                    }
                    for name, option in OPTIONS.items()
                },
            }
        },
        "db-managers": ["airflow_incoming.db.manager.IncomingDBManager"],
        "cli": ["airflow_incoming.cli.commands.get_commands"],
        "asset-uris": [{"schemes": ["incoming"], "handler": None}],
    }
