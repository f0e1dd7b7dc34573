"""The event that started a DAG run, as a task sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_incoming.core.conf import EVENT_ID, conf_in
from airflow_incoming.core.errors import IncomingError
from airflow_incoming.core.flatten import unflatten

_ABOUT = "_incoming."
_HEADER = f"{_ABOUT}headers."


class NotStartedByEvent(IncomingError):
    """This DAG run was not started by an event.

    There is no ``_incoming.event_id`` in its conf, nor in an asset event that triggered it.
    """

    code = "not_started_by_event"


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingEvent:
    """One event. ``data`` is the flattened payload, without what is about the event itself.

    ``headers`` are those that the integration passes on, by lower-cased name. ``received_at`` is aware.
    """

    event_id: str
    integration: str
    received_at: datetime
    headers: Mapping[str, str]
    data: Mapping[str, Any]

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any]) -> IncomingEvent:
        """Return the event of a conf, or of what a task has waited for. Raises NotStartedByEvent."""
        if EVENT_ID not in conf:
            raise NotStartedByEvent(f"This is no event: it has no {EVENT_ID}.")
        try:
            received_at = datetime.fromisoformat(conf[f"{_ABOUT}received_at"])
        except (KeyError, TypeError, ValueError) as error:
            raise NotStartedByEvent(
                f"This is no event: it has an {EVENT_ID}, but {_ABOUT}received_at is no ISO 8601 time. "
                "Replay the event in Airflow's Incoming pages, or pass on all of its conf."
            ) from error
        return cls(
            event_id=str(conf[EVENT_ID]),
            integration=str(conf.get(f"{_ABOUT}integration", "")),
            received_at=received_at,
            headers={name.removeprefix(_HEADER): conf[name] for name in conf if name.startswith(_HEADER)},
            data={name: value for name, value in conf.items() if not name.startswith(_ABOUT)},
        )

    @property
    def payload(self) -> dict[str, Any] | list[Any]:
        """Return the payload as it was nested when it was sent.

        Raises ValueError where somebody has edited conf so that two names contradict each other.
        """
        return unflatten(self.data)

    @property
    def records(self) -> list[Any]:
        """Return the items of a payload that is an array; of any other the payload alone."""
        payload = self.payload
        return payload if isinstance(payload, list) else [payload]


def incoming_event(context: Mapping[str, Any] | None = None) -> IncomingEvent:
    """Return the event that started this task's DAG run; by default out of the running task's context.

    Raises NotStartedByEvent where there is none, or where assets brought several: see
    :func:`incoming_events`.
    """
    events = incoming_events(context)
    if len(events) == 1:
        return events[0]
    if events:
        raise NotStartedByEvent(
            f"This DAG run was started by {len(events)} events of an asset; use incoming_events()."
        )
    raise NotStartedByEvent(
        "This DAG run was not started by an event: neither its conf nor an asset event that triggered it has "
        f"{EVENT_ID}. To run it by hand, replay an event in Airflow's Incoming pages."
    )


def incoming_events(context: Mapping[str, Any] | None = None) -> tuple[IncomingEvent, ...]:
    """Return all events that started this task's DAG run: one, or as many as its assets brought, or none.

    In the order in which they came, each once, also where an asset's watcher has delivered one twice.
    """
    context = _running_context() if context is None else context
    if (event := event_of_conf(context)) is not None:
        return (event,)
    by_asset = context.get("triggering_asset_events") or {}
    confs = [conf_in(event.extra)[0] for events in by_asset.values() for event in events]
    # An event may have updated several assets of one DAG, or come under an alias, too.
    found = {conf[EVENT_ID]: conf for conf in confs if EVENT_ID in conf}
    # Airflow gives them by asset. Ids are UUIDv7: ordering by id is ordering by time of arrival.
    return tuple(IncomingEvent.from_conf(found[event_id]) for event_id in sorted(found, key=str))


def event_of_conf(context: Mapping[str, Any]) -> IncomingEvent | None:
    """Return the event whose data is the DAG run's conf; None where that is of no event."""
    run = context.get("dag_run")
    conf = (run.conf if run is not None else None) or {}
    return IncomingEvent.from_conf(conf) if EVENT_ID in conf else None


def _running_context() -> Mapping[str, Any]:
    from airflow.sdk import get_current_context

    return get_current_context()
