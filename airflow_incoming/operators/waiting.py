"""Pauses a DAG run until an event has come."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal, NoReturn

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferralTimeout
from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

from airflow_incoming.core.errors import IncomingError, RedisUnavailable
from airflow_incoming.core.stream import Position, Take, before, just_before, sent_of
from airflow_incoming.core.wanted import Wanted, full_names, wanted
from airflow_incoming.operators import installation
from airflow_incoming.operators.fields import CarriedFields
from airflow_incoming.stores.stream import EventStream

#: Events that are read at a time.
BATCH = 50


class UnknownIntegration(IncomingError):
    """There is no integration of this name."""

    code = "unknown_integration"


class WaitForIncomingEventOperator(CarriedFields):
    """Waits, in the triggerer, until an event of an integration comes, and returns it.

    ``where`` (templated) says which event: its parameters must have these values, as in
    ``{"order.id": "{{ dag_run.conf['order.id'] }}"}``; ``header.x-shop`` is a header that the integration
    passes on. ``7`` finds the number and the text, ``'"7"'`` the text alone; ``True`` and ``None``, as
    templates write them, find true and null. Templates are rendered to text, whatever the DAG's
    ``render_template_as_native_obj`` says. Without ``where`` any event will do.

    An event that came up to ``look_back`` before this task began to wait is found, too (the oldest of
    several). Redis keeps events for 7 days at most, and the newest ``[incoming] stream_length`` of an
    integration, or ``stream_size`` of them.
    Give the task ``retries``: each try looks back from its own start, so a failure of Airflow's in between
    loses nothing as long as it and the delay are shorter than ``look_back``.

    ``exclusive``: no two waiting tasks get the same event; by default all that want it do. A retried or
    cleared task finds the event again that it took, for as long as Redis keeps that; nobody else gets it,
    even if the task fails afterwards.

    After ``timeout`` the task fails for good, or is skipped (``on_timeout="skip"``). What is returned is
    what a DAG run would receive as conf: the flattened payload with ``_incoming.event_id`` and the like;
    ``IncomingEvent.from_conf`` gives it nested.
    """

    template_fields: Sequence[str] = ("integration", "where")
    template_fields_renderers: ClassVar[dict[str, str]] = {"where": "json"}
    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        integration: str,
        where: Mapping[str, Any] | None = None,
        look_back: timedelta = timedelta(minutes=10),
        timeout: timedelta = timedelta(days=7),
        on_timeout: Literal["fail", "skip"] = "fail",
        exclusive: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # Of a native object nobody can tell how its text was written: +48100200300, 1_000, 1e5, None.
        self.render_template_as_native_obj = False
        if on_timeout not in ("fail", "skip"):
            raise ValueError(f'on_timeout must be "fail" or "skip", not {on_timeout!r}')
        if look_back < timedelta(0) or timeout <= timedelta(0):
            raise ValueError("look_back can't be negative, and timeout must be longer than nothing")
        full_names(where)  # to be told of a mistake when the DAG is parsed
        self.integration = integration
        self.where = where
        self.look_back = look_back
        self.timeout = timeout
        self.on_timeout = on_timeout
        self.exclusive = exclusive

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render to text; Airflow hands over the DAG's environment, which may be one for native objects."""
        if isinstance(jinja_env, NativeEnvironment):
            jinja_env = self.get_template_env()
        return super().render_template(content, context, jinja_env, seen_oids)

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the event if it is there already, else wait for it."""
        try:
            wants = wanted(self.where)
        except ValueError as error:
            raise AirflowFailException(str(error)) from error
        taker = _taker(context) if self.exclusive else None
        look_back = int(self.look_back.total_seconds() * 1000)
        position = before(int(time.time() * 1000) - look_back)
        try:
            stream = installation.stream()
            self._check_name(stream)
            if taker is not None and (own := self._own(stream, wants, taker)):
                return own
            position = before(stream.now(self.integration).milliseconds - look_back)
            found, position = self._look(stream, wants, position, taker)
        except RedisUnavailable as error:
            self.log.warning("%s The triggerer waits for it, and for the event", error.detail)
            found = None
        return found or self._defer(wants, position, taker)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return the event that has come."""
        self.log.info("Event %s has come", event["_incoming.event_id"])
        return event

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait; say what was waited for if it was in vain."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as error:
            wants = f"integration {self.integration} with {wanted(self.where)}"
            said = f"No event of {wants} came in {self.timeout}."
            if self.on_timeout == "skip":
                raise AirflowSkipException(said) from error
            raise AirflowFailException(
                f"{said} Look for it in Airflow's Incoming pages; if it came before the task began to wait, "
                "make look_back longer."
            ) from error

    def _own(self, stream: EventStream, wants: Wanted, taker: str) -> dict[str, Any] | None:
        """Return the event that this task took when it ran before, however long ago."""
        position = stream.own(self.integration, taker=taker)
        if position is None:
            return None
        for found, fields in stream.read(self.integration, after=just_before(position), limit=1):
            if found == position:
                sent = sent_of(self.integration, position, fields)
                return dict(sent.conf) if wants.matches(sent.conf) else None
        raise AirflowFailException(
            "The event that this task took before is no longer in Redis, and it may not take another one. "
            "Start a new DAG run; Airflow's Incoming pages show the event. [incoming] stream_length and "
            "stream_size say how many are kept."
        )

    def _look(
        self, stream: EventStream, wants: Wanted, position: Position, taker: str | None
    ) -> tuple[dict[str, Any] | None, Position]:
        """Return the first event after a position that is wanted, if there is one, and how far that was."""
        while entries := stream.read(self.integration, after=position, limit=BATCH):
            for position, fields in entries:
                try:
                    sent = sent_of(self.integration, position, fields)
                except ValueError as error:
                    self.log.warning("%s It is left out", error)
                    continue
                if wants.matches(sent.conf) and (
                    taker is None
                    or stream.take(
                        self.integration, Take(event_id=sent.event_id, position=position, taker=taker)
                    )
                ):
                    self.log.info("Event %s had come before", sent.event_id)
                    return dict(sent.conf), position
        return None, position

    def _defer(self, wants: Wanted, position: Position, taker: str | None) -> NoReturn:
        from airflow_incoming.triggers.event import AwaitedEventTrigger

        names = ", ".join(wants.parameters)  # not the values, which are somebody's data
        self.log.info("Waiting for an event of integration %s by: %s", self.integration, names or "anything")
        trigger = AwaitedEventTrigger(self.integration, wants.parameters, after=str(position), taker=taker)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=self.timeout)

    def _check_name(self, stream: EventStream) -> None:
        names = stream.names()
        if names is not None and self.integration not in names:
            raise UnknownIntegration(
                f"There is no integration {self.integration!r}; there are: "
                f"{', '.join(sorted(names)) or 'none'}. Check integration=…, or make it in Airflow's "
                "Incoming pages."
            )


def _taker(context: Context) -> str:
    """Return what names this task instance at every try."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{-1 if ti.map_index is None else ti.map_index}"
