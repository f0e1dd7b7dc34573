"""Why events failed, for those who may look at what they start: an error tells of a DAG and its params."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from uuid import UUID

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import EventRecord
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.stores.events import Plight
from airflow_incoming.web.access import Visitor

VEIL = "Only those who may look at everything that it starts are told why."


def veiled(visitor: Visitor, desk: EventDesk, events: Iterable[EventRecord]) -> Iterator[EventRecord]:
    """Give events without the errors that a visitor isn't told."""
    told: dict[UUID, bool] = {}
    for event in events:
        if event.error is not None and event.version_id not in told:
            told[event.version_id] = _may_read(visitor, desk.configuration_of(event))
        yield event if event.error is None or told[event.version_id] else replace(event, error=VEIL)


def veiled_plight(visitor: Visitor, plight: Plight) -> Plight:
    """Return what an event waits for, unless it is a DAG or an asset that a visitor may not look at."""
    kind, _, target = (plight.waiting_for or "").partition(":")
    if kind == "dag" and not visitor.readable_dags([target]):
        return replace(plight, waiting_for=None)
    if kind == "asset" and not visitor.may_read_assets():
        return replace(plight, waiting_for=None)
    return plight


def _may_read(visitor: Visitor, configuration: Configuration | None) -> bool:
    if configuration is None:
        return False
    dags = set(configuration.dags)
    return dags <= visitor.readable_dags(dags) and (not configuration.assets or visitor.may_read_assets())
