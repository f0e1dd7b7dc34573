"""Waits for the end of a DAG run, on a worker or in the triggerer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.exceptions import AirflowException

from airflow_incoming.operators import runs
from airflow_incoming.operators.fields import CarriedFields


class TriggeredRunLink(BaseOperatorLink):
    """Leads to the DAG run that was triggered; for a duplicate, to the first one."""

    name = "Triggered DAG run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the run's address; "" where nothing was triggered."""
        return str(getattr(operator, "triggered_url", ""))


class AwaitsRun(CarriedFields):
    """What an operator needs to wait for a DAG run; ``execute`` ends with ``self.finish(…)``.

    ``deferrable`` is by default ``[operators] default_deferrable``.
    """

    operator_extra_links = (TriggeredRunLink(),)

    def __init__(
        self,
        *,
        wait_for_completion: bool = False,
        poke_interval: float = 60,
        allowed_states: Sequence[str] = ("success",),
        failed_states: Sequence[str] = ("failed",),
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.poke_interval = poke_interval
        self.allowed_states = [runs.plain_state(state) for state in allowed_states]
        self.failed_states = [runs.plain_state(state) for state in failed_states]
        self.deferrable = deferrable
        self.triggered_url = ""

    def link_to(self, dag_id: str, run_id: str) -> None:
        """Let the task's extra link lead to a run."""
        self.triggered_url = runs.run_url(dag_id, run_id)

    def finish(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """Return the result at once, or with the ``state`` in which the run of its ids has ended."""
        if not self.wait_for_completion:
            return result
        # Airflow keeps the link when the task has ended; whoever looks meanwhile wants it, too.
        context["ti"].xcom_push(key=TriggeredRunLink().xcom_key, value=self.triggered_url)
        states = [*self.allowed_states, *self.failed_states]
        if self._is_deferrable():
            self._defer_until(states, result)
        state = runs.await_state(result["dag_id"], result["run_id"], states, every=self.poke_interval)
        return self._ended(result, state)

    def execute_complete(
        self, context: Context, event: tuple[str, dict[str, Any]], result: dict[str, Any]
    ) -> dict[str, Any]:
        """Go on when the triggerer has seen the end of the run."""
        self.link_to(result["dag_id"], result["run_id"])
        return self._ended(result, runs.plain_state(event[1].get(result["run_id"])))

    def _defer_until(self, states: list[str], result: dict[str, Any]) -> NoReturn:
        from airflow.providers.standard.triggers.external_task import DagStateTrigger

        trigger = DagStateTrigger(
            dag_id=result["dag_id"],
            run_ids=[result["run_id"]],
            states=states,  # type: ignore[arg-type]  # its states are text when they come back
            poll_interval=self.poke_interval,
        )
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"result": result})

    def _is_deferrable(self) -> bool:
        from airflow.sdk.configuration import conf

        if self.deferrable is not None:
            return self.deferrable
        return bool(conf.getboolean("operators", "default_deferrable", fallback=False))

    def _ended(self, result: dict[str, Any], state: str) -> dict[str, Any]:
        if state not in self.allowed_states:
            raise AirflowException(f"Run {result['run_id']} of DAG {result['dag_id']} has ended as {state}")
        return {**result, "state": state}
