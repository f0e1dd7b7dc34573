"""``check``: what is wrong with this installation."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from airflow_incoming import bootstrap
from airflow_incoming.cli.output import REFUSED, Failure, Result, command


@command
def check(_: Namespace) -> Result:
    """Show what was looked at; ends with 1 when something must be repaired."""
    rows = [asdict(finding) for finding in bootstrap.diagnosis().findings()]
    return Failure(rows, REFUSED) if any(row["level"] == "error" for row in rows) else rows
