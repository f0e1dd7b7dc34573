"""Changes that administrators make: committed together with their entries in Airflow's audit log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from airflow_incoming.db.engine import transaction
from airflow_incoming.stores import audit

log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Changing:
    """A transaction, and what was done in it."""

    connection: Connection
    deeds: list[audit.Deed] = field(default_factory=list)

    def did(self, act: str, **about: Any) -> None:
        """Note what was done, such as ``publish_integration``, and to what; never a secret or a payload."""
        self.deeds.append(audit.Deed(act, about))


@contextmanager
def changing(engine: Engine, *, by: str, now: datetime) -> Iterator[Changing]:
    """Run the block in one transaction, and write down who did what in it: both, or neither.

    ``by`` is the audit entries' owner. Raises DatabaseUnavailable.
    """
    with transaction(engine) as connection:
        change = Changing(connection=connection)
        yield change
        audit.add(connection, change.deeds, by=by, now=now)
    for deed in change.deeds:
        about = " ".join(f"{name}={value}" for name, value in deed.about.items())
        log.info("%s: %s %s", by, deed.act, about)
