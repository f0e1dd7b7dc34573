"""What waits for events in the triggerer: for an asset's watcher, or for a task that is deferred.

Safe where there is no metadata database: Redis is all that is ever reached.
"""

from __future__ import annotations

from airflow_incoming.triggers.event import IncomingEventTrigger

__all__ = ["IncomingEventTrigger"]
