"""The product with one promise broken on purpose: what the checker has to notice.

Each is the mistake that a plausible implementation makes. They are patches of the real code in a
process of their own, so they really run.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_incoming.core.messages import Event
from airflow_incoming.db.engine import transaction
from airflow_incoming.services import dispatch, intake
from airflow_incoming.services.consumers import discovery, sweep, undelivered
from airflow_incoming.services.launch import launcher, lookup, rows, singly, together
from airflow_incoming.stores import inbox, queue
from airflow_incoming.stores.dedup import Known, Memory
from airflow_incoming.stores.own_memory import OwnMemory

#: Seconds by which a step is held up, so that the other process is sure to come between.
MOMENT = 0.3


def break_promise(variant: str) -> None:
    """Break a promise in this process from now on."""
    VARIANTS[variant]()


def known_before_commit() -> None:
    """Tell Redis of a hash before its event is committed, so that a retry is answered 204."""
    original = inbox.Inbox.append
    told: list[intake.Intake] = []
    start = intake.Intake.start

    def remembering(self: intake.Intake) -> None:
        told.append(self)
        start(self)

    def append(self: inbox.Inbox, events: Any, *, now: datetime) -> Any:
        memory = told[-1]._memory
        assert isinstance(memory, OwnMemory)
        found = memory._find()
        assert found is not None
        memory._memory(found[0]).remember(
            Memory(event.claim.hash, Known(event.id, now), event.claim.window)
            for event in events
            if event.claim is not None
        )
        return original(self, events, now=now)

    intake.Intake.start = remembering  # type: ignore[method-assign]
    inbox.Inbox.append = append  # type: ignore[method-assign]


def check_then_insert() -> None:
    """Look whether a hash is there, and insert the event if it isn't; nobody arbitrates."""
    from sqlalchemy import select

    from airflow_incoming.db import tables

    table = tables.dedup

    def look_first(self: inbox.Inbox, events: Any, *, now: datetime) -> Any:
        hashes = [event.claim.hash for event in events if event.claim is not None]
        query = select(table.c.hash, table.c.event_id).where(table.c.hash.in_(hashes))
        with transaction(self._engine) as connection:
            known = dict(map(tuple, connection.execute(query)))
        time.sleep(MOMENT)
        owners = {event.id: known.get(event.claim and event.claim.hash, event.id) for event in events}
        with transaction(self._engine) as connection:
            inbox.claim(connection, events, now=now)
            inbox.insert_events(connection, [event for event in events if owners[event.id] == event.id])
        return owners

    inbox.Inbox.append = look_first  # type: ignore[method-assign]


def mark_before_run() -> None:
    """Commit the mark of an event first, and make its DAG runs in another transaction."""
    take = queue.take

    def mark_first(connection: Any, *, limit: int, now: datetime) -> Any:
        with transaction(connection.engine) as other:
            taken = take(other, limit=limit, now=now)
            queue.mark_dispatched(other, {one.event.id: () for one in taken}, now)
        return taken

    queue.take = mark_first


def run_before_mark() -> None:
    """Commit the DAG runs first and mark the event afterwards, without the lock of the run id."""
    mark = queue.mark_dispatched
    run_ids: dict[uuid.UUID, str] = {}

    def run_id_of(event: Event) -> str:
        return run_ids.setdefault(event.id, f"incoming__{event.integration}__{uuid.uuid4()}")

    for module in (launcher, lookup, rows, singly, together):
        module.run_id_of = run_id_of  # type: ignore[attr-defined]
    later: list[Callable[[], None]] = []

    def mark_later(connection: Any, started: Any, now: datetime) -> None:
        engine = connection.engine

        def do() -> None:
            with transaction(engine) as other:
                mark(other, started, now)

        later.append(do)

    dispatch_batch = dispatch.Dispatcher.dispatch_batch

    def then_mark(self: dispatch.Dispatcher) -> Any:
        tally = dispatch_batch(self)
        while later:
            later.pop()()
        return tally

    queue.mark_dispatched = mark_later
    dispatch.Dispatcher.dispatch_batch = then_mark  # type: ignore[method-assign]


def time_of_the_first() -> None:
    """Leave the queue for runs as Airflow does: with the time of the first asset event."""
    launcher.stamp = lambda *_: None
    sweep.Sweep.sweep = lambda _: False  # type: ignore[method-assign]


def ask_again() -> None:
    """Ask for runs of what came, and don't look whether one has it already."""
    waiting = undelivered._waiting

    def unsettled(connection: Any, dag_id: str) -> Any:
        return [replace(one, settled=False) for one in waiting(connection, dag_id)]

    undelivered._waiting = unsettled
    discovery._got = lambda *_: set()
    sweep.Sweep._settle = lambda _: None  # type: ignore[method-assign]


VARIANTS: dict[str, Callable[[], None]] = {
    variant.__name__.replace("_", " "): variant
    for variant in (
        known_before_commit,
        check_then_insert,
        mark_before_run,
        run_before_mark,
        time_of_the_first,
        ask_again,
    )
}
