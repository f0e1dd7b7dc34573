"""Events: find them, see what became of one, send them once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

import flask
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from airflow_incoming.core.errors import Conflict, InvalidConfiguration, RedisUnavailable
from airflow_incoming.core.export import as_csv, as_json
from airflow_incoming.core.records import EventRecord
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.runs import ENDED
from airflow_incoming.web.access import Permission
from airflow_incoming.web.pace import at_readers_pace
from airflow_incoming.web.views.event_filter import RANGE_OPTIONS, STATE_OPTIONS, EventFilter, read_filter
from airflow_incoming.web.views.event_parts import parts_of
from airflow_incoming.web.views.page import ROOT, Page, expose, is_fragment, needs, visitor
from airflow_incoming.web.views.replaying import Progress
from airflow_incoming.web.views.veiling import veiled, veiled_plight

#: The most that is exported at once, and the most that is counted.
EXPORTED = 10_000
COUNTED = 1_000
#: How many exports one process makes at a time: each takes a thread that pages and the API wait for.
EXPORTS = 2
_exports = BoundedSemaphore(EXPORTS)

READ, EDIT = Permission.READ_EVENTS, Permission.EDIT_EVENTS


class EventPages(Page):
    """The list of events and the page of one."""

    route_base = f"{ROOT}/events"

    @expose("/", methods=("GET",))
    @needs(READ)
    def list(self) -> ResponseReturnValue:
        """Show the newest events that match, or only their table, for a page that refreshes itself."""
        chosen = read_filter(flask.request.args, _now())
        if chosen.errors:
            return self.show("events/list.html", status=422, **self._surroundings(chosen), page=None)
        page = self.services.events().find(chosen.criteria)
        page = replace(page, events=tuple(self._veiled(page.events)))
        context = {"page": page, **self._rows(page.events)}
        if is_fragment():
            return self.show("events/table.html", chosen=chosen, **context)
        count = self.services.events().count(chosen.criteria, upto=COUNTED) if page.events else 0
        return self.show("events/list.html", **context, **self._surroundings(chosen), count=count)

    @expose("/<uuid:event_id>", methods=("GET",))
    @needs(READ)
    def show_event(self, event_id: UUID) -> ResponseReturnValue:
        """Show one event with everything, or only what changes while it runs."""
        desk = self.services.events()
        if is_fragment():
            (record,) = self._veiled([desk.show(event_id)])
            plight = veiled_plight(visitor(), desk.plight(event_id))
            return self.show("events/live.html", event=record, plight=plight, **self._one(record))
        whole = desk.whole(event_id)
        (record,) = self._veiled([whole.record])
        return self.show(
            "events/event.html",
            active="events",
            whole=whole,
            event=record,
            plight=veiled_plight(visitor(), whole.plight),
            parts=parts_of(record),
            **self._one(record),
        )

    @expose("/<uuid:event_id>/replay", methods=("POST",))
    @needs(READ, EDIT)
    def replay(self, event_id: UUID) -> ResponseReturnValue:
        """Send one event once more, and go to the event that runs."""
        (done,) = self.services.events().replay([event_id], by=visitor(), deduplicate=_deduplicates())
        if done.action == "refused":
            flask.abort(403, description=f"This event can't be replayed: {done.reason}.")
        if done.action == "duplicate":
            raise Conflict(
                f"Nothing was started: {done.reason}. Replay it without deduplication, or forget its hash."
            )
        if done.action == "pending":
            raise Conflict("This event still waits for its first run, so there is nothing to repeat.")
        return self.redirect(
            "EventPages.show_event", event_id=done.new_id or done.event_id, notice="replayed"
        )

    @expose("/<uuid:event_id>/forget", methods=("POST",))
    @needs(READ, EDIT)
    def forget(self, event_id: UUID) -> ResponseReturnValue:
        """Forget the event's hash, so that the next request with it runs."""
        desk = self.services.events()
        record = desk.show(event_id)
        hash_ = record.dedup_hash
        if hash_ is None:
            raise Conflict("This event has no deduplication hash, so there is nothing to forget.")
        try:
            known = desk.forget(hash_, by=visitor())
        except RedisUnavailable as error:
            raise RedisUnavailable("Redis can't be reached, so nothing was forgotten. Try again.") from error
        return self.redirect(
            "EventPages.show_event", event_id=event_id, notice="forgotten" if known else "not-known"
        )

    @expose("/replay", methods=("POST",))
    @needs(READ, EDIT)
    def replay_all(self) -> ResponseReturnValue:
        """Replay the next of all events that match, and show how far that is."""
        form = flask.request.form
        chosen = _valid_filter(form)
        progress = Progress.read(form)
        if form.get("stop"):
            return self.show("events/progress.html", progress=progress, stopped=True, next=None)
        desk = self.services.events()
        # Whatever a form says, events that come from now on are not meant.
        upto = min(_cursor("upto") or desk.newest_now(), desk.newest_now())
        step = desk.replay_step(
            chosen.criteria,
            cursor=_cursor("cursor"),
            upto=upto,
            by=visitor(),
            deduplicate=_deduplicates(),
        )
        progress = progress.after(step)
        following = {
            **chosen.fixed(),
            **progress.fields(),
            "upto": str(upto),
            "cursor": str(step.cursor),
            "deduplicate": form["deduplicate"],
            "total": form.get("total", "")[:8],
        }
        return self.show(
            "events/progress.html", progress=progress, stopped=False, next=following if step.cursor else None
        )

    @expose("/export.csv", methods=("GET",))
    @needs(READ)
    def export_csv(self) -> ResponseReturnValue:
        """Send the events that match as CSV."""
        return self._export(as_csv, "csv", "text/csv; charset=utf-8")

    @expose("/export.json", methods=("GET",))
    @needs(READ)
    def export_json(self) -> ResponseReturnValue:
        """Send the events that match as JSON."""
        return self._export(as_json, "json", "application/json")

    def _export(
        self, write: Callable[[Iterator[EventRecord]], Iterator[str]], suffix: str, content_type: str
    ) -> ResponseReturnValue:
        chosen = _valid_filter(flask.request.args)
        events = self._veiled(self.services.events().stream(chosen.criteria, limit=EXPORTED))
        blocks = _one_of_few(lambda: write(events))
        first = next(blocks, b"")  # before the answer begins: an error can still be told
        name = f"events-{_now():%Y%m%d-%H%M%S}.{suffix}"
        return flask.Response(
            chain([first], blocks),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def _veiled(self, events: Iterable[EventRecord]) -> Iterator[EventRecord]:
        return veiled(visitor(), self.services.events(), events)

    def _surroundings(self, chosen: EventFilter) -> dict[str, Any]:
        names = [integration.name for integration in self.services.manager().list()]
        wanted = chosen.criteria.integration
        if wanted and wanted not in names:  # it was deleted, and its events are there
            names.append(wanted)
        return {
            "active": "events",
            "chosen": chosen,
            "integrations": [("", "Any integration"), *((name, name) for name in names)],
            "states": STATE_OPTIONS,
            "ranges": RANGE_OPTIONS,
            "exported": EXPORTED,
            "counted": COUNTED,
        }

    def _rows(self, events: Sequence[EventRecord]) -> dict[str, Any]:
        """Return what a table of events needs beside them: their runs, and which of those may be shown."""
        return rows_context(self.services.events(), self.services.manager().list, events)

    def _one(self, event: EventRecord) -> dict[str, Any]:
        """Return the same for the page of one event, with the DAGs that its assets and watchers start."""
        context = self._rows([event])
        consumers = self.services.events().consumers(event)
        readable = visitor().readable_dags({each.dag_id for each in consumers})
        shown = [each for each in consumers if each.dag_id in readable]
        moving = any(not each.is_blocked and each.state not in ENDED for each in shown)
        return context | {
            "consumers": shown,
            "is_running": context["is_running"] or moving,
            "may_read_assets": visitor().may_read_assets(),
        }


def rows_context(
    desk: EventDesk,
    integrations: Callable[[], Sequence[Any]],
    events: Sequence[EventRecord],
) -> dict[str, Any]:
    """Return the runs of events, those whose DAG the visitor may read, and how their integrations look."""
    started = [one for event in events for one in event.started]
    readable = visitor().readable_dags({one.dag_id for one in started if one.dag_id})
    runs = desk.runs([one for one in started if one.dag_id in readable])
    moving = any(event.state in ("accepted", "failed") for event in events)
    return {
        "runs": runs,
        "looks": {each.name: each.current.configuration for each in integrations()} if events else {},
        "watched": desk.watched() if any(not event.started for event in events) else {},
        "is_moving": moving,
        "is_running": moving or any(not run.has_ended and not run.is_paused for run in runs.values()),
    }


def _one_of_few(make: Callable[[], Iterator[str]]) -> Iterator[bytes]:
    """Give an export at its reader's pace. Raises Conflict while as many run as the pages can spare."""
    if not _exports.acquire(blocking=False):
        raise Conflict(f"{EXPORTS} exports are running already. Try again when one of them has ended.")
    try:
        yield from at_readers_pace(make())
    finally:
        _exports.release()


def _valid_filter(values: MultiDict[str, str]) -> EventFilter:
    """Return a filter that something is done with; a mistake can't be shown at its field then."""
    chosen = read_filter(values, _now())
    for name, problem in chosen.errors.items():
        raise InvalidConfiguration((name,), problem)
    return chosen


def _deduplicates() -> bool:
    choice = flask.request.form.get("deduplicate", "")
    if choice not in ("yes", "no"):
        raise InvalidConfiguration(("deduplicate",), "choose with or without deduplication")
    return choice == "yes"


def _cursor(name: str) -> UUID | None:
    text = flask.request.form.get(name, "")
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise InvalidConfiguration((name,), "must be an event id; start the replay again") from error


def _now() -> datetime:
    return datetime.now(timezone.utc)
