"""Triggers a DAG with any payload, once for what was sent in the last 7 days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar, Literal

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_incoming.core.errors import RequestRejected
from airflow_incoming.core.integration import DEFAULT_WINDOW
from airflow_incoming.operators import installation, runs
from airflow_incoming.operators.awaiting import AwaitsRun
from airflow_incoming.operators.gate import Gate
from airflow_incoming.operators.identity import Bounds, Caller, Launch, deduplication_of, plan_launch
from airflow_incoming.operators.payloads import (
    Payload,
    UnusablePayload,
    read_payload,
    read_payload_file,
)

RETURN_VALUE = "return_value"
#: Another try would end the same.
_FINAL = (UnusablePayload, RequestRejected, runs.PayloadRefused, installation.RedisNotConfigured)


class IncomingTriggerDagRunOperator(AwaitsRun):
    """Triggers a DAG run with a flattened payload as ``conf``, unless the same was sent before.

    ``payload`` (templated) is a dict, a list, the text of a JSON object or array, or what another task
    returned; ``payload_file`` (templated) is the path of a file of JSON instead. The conf is flattened as
    a webhook's: ``{{ dag_run.conf["order.id"] }}``, with ``_incoming.event_id``, ``_incoming.received_at``
    and ``_incoming.integration``.

    ``deduplication_parameters``: up to 5, such as ``body.order.id`` (or short ``order.id``) and, where
    ``headers`` (templated) are given, ``header.x-request-id``. A payload whose values of them were sent
    within ``window`` is a duplicate; each duplicate makes the window begin again. Payloads without any of
    them are triggered undeduplicated, and the log says so. Without parameters nothing is deduplicated, and
    Redis isn't needed. ``deduplication_scope`` (templated): tasks of the same scope share one memory; by
    default each task has its own. It is not shared with integrations.

    ``on_duplicate``: ``skip`` this task, or ``succeed``. The task returns ``status`` (``triggered`` or
    ``duplicate``), ``dag_id``, ``run_id``, ``event_id``, ``hash``, ``deduplicated`` and ``created``: of a
    duplicate, the ids are those of the run that was first.

    A retried or cleared task never triggers the same twice: its run has the same id at every try, and one
    that exists already is taken for done (``created`` is false). The same is what has equal values of the
    parameters; without any, the whole payload, so leave times of now out of it. What a task has claimed is
    given back when Airflow refuses the run. After a timeout, or an answer that doesn't say whether the run
    was made, it isn't: another task that sends the same waits up to 10 minutes for the retry of this one.
    While Redis is out of reach nothing is triggered, and the task fails to be retried.

    ``wait_for_completion`` waits for the triggered run, asking every ``poke_interval`` seconds, until it is
    in one of ``allowed_states`` or ``failed_states``; ``deferrable`` (by default ``[operators]
    default_deferrable``) does so in the triggerer. Duplicates wait for nothing. Where
    that run has failed, clear it before this task: a retry finds the same run.
    """

    template_fields: Sequence[str] = (
        "trigger_dag_id",
        "payload",
        "payload_file",
        "headers",
        "deduplication_scope",
    )
    text_fields = frozenset({"trigger_dag_id", "payload_file", "deduplication_scope"})
    payload_fields = frozenset({"payload"})
    template_fields_renderers: ClassVar[dict[str, str]] = {"payload": "json", "headers": "json"}
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        payload: Any = None,
        payload_file: str | None = None,
        deduplication_parameters: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        window: timedelta = DEFAULT_WINDOW,
        on_duplicate: Literal["skip", "succeed"] = "skip",
        deduplication_scope: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_duplicate not in ("skip", "succeed"):
            raise ValueError(f'on_duplicate must be "skip" or "succeed", not {on_duplicate!r}')
        deduplication_of(deduplication_parameters, window)  # to be told of a mistake when the DAG is parsed
        self.trigger_dag_id = trigger_dag_id
        self.payload = payload
        self.payload_file = payload_file
        self.deduplication_parameters = deduplication_parameters
        self.headers = headers
        self.window = window
        self.on_duplicate = on_duplicate
        self.deduplication_scope = deduplication_scope

    def execute(self, context: Context) -> dict[str, Any]:
        """Trigger, or find the duplicate; return what was done."""
        try:
            return self._trigger(self._plan(context), context)
        except _FINAL as error:
            raise AirflowFailException(error.detail) from error

    def _trigger(self, launch: Launch, context: Context) -> dict[str, Any]:
        if launch.hash is None:
            created = runs.create_run(self.trigger_dag_id, launch.run_id, launch.conf)
        else:
            gate = Gate(installation.claims(), launch.hash, window=self.window)
            first = gate.enter(self.trigger_dag_id, launch.run_id)
            if first is not None:
                return self._duplicate(launch, first.dag_id, first.run_id, context)
            created = gate.pass_through(self.trigger_dag_id, launch.run_id, launch.conf)
        self.link_to(self.trigger_dag_id, launch.run_id)
        self.log.info(
            "%s run %s of DAG %s",
            "Triggered" if created else "An earlier try has triggered",
            launch.run_id,
            self.trigger_dag_id,
        )
        result = self._result("triggered", launch, self.trigger_dag_id, launch.run_id, created=created)
        return self.finish(result, context)

    def _plan(self, context: Context) -> Launch:
        options = installation.settings()
        deduplication = deduplication_of(self.deduplication_parameters, self.window)
        caller = _caller(context)
        launch = plan_launch(
            self._read(options.max_body),
            caller=caller,
            scope=self._scope(caller),
            headers=self.headers or {},
            deduplication=deduplication,
            now=datetime.now(timezone.utc),
            bounds=Bounds(max_parameters=options.max_parameters, max_conf=options.max_conf),
        )
        if deduplication is not None and launch.hash is None:
            self.log.warning(
                "The payload has none of %s, so it is not deduplicated", ", ".join(deduplication.parameters)
            )
        return launch

    def _read(self, max_size: int) -> Payload:
        if self.payload_file is None:
            return read_payload(self.payload)
        if self.payload is not None:
            raise UnusablePayload("Give payload or payload_file, not both.")
        return read_payload_file(self.payload_file, max_size=max_size)

    def _scope(self, caller: Caller) -> str:
        scope = self.deduplication_scope
        if scope is None:
            return f"{caller.dag_id}.{caller.task_id}"
        if not scope or not scope.isprintable() or len(scope) > 250:
            raise UnusablePayload("deduplication_scope must be a name of 1 to 250 printable characters.")
        return scope

    def _duplicate(self, launch: Launch, dag_id: str, run_id: str, context: Context) -> dict[str, Any]:
        self.link_to(dag_id, run_id)
        result = self._result("duplicate", launch, dag_id, run_id, created=False)
        said = f"The same was sent within the last {self.window}: run {run_id} of DAG {dag_id} has it"
        if self.on_duplicate == "succeed":
            self.log.info("%s", said)
            return result
        if self.do_xcom_push:
            context["ti"].xcom_push(key=RETURN_VALUE, value=result)
        raise AirflowSkipException(said)

    def _result(
        self, status: str, launch: Launch, dag_id: str, run_id: str, *, created: bool
    ) -> dict[str, Any]:
        return {
            "status": status,
            "dag_id": dag_id,
            "run_id": run_id,
            "event_id": run_id.rpartition("__")[2],
            "hash": launch.hash,
            "deduplicated": launch.hash is not None,
            "created": created,
        }


def _caller(context: Context) -> Caller:
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    return Caller(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=map_index)
