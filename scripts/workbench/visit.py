"""What somebody does with a running Airflow with webhooks: posts events, and sees their DAGs run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from workbench.airflow import Airflow
from workbench.processes import Processes, fetch, wait_until
from workbench.steps import Failed, step

ENDED = ("success", "failed")


class Visit:
    """Talks to one Airflow; ``urls`` are those of its integrations by name."""

    def __init__(self, airflow: Airflow, processes: Processes, urls: Mapping[str, str], api_key: str) -> None:
        self._airflow = airflow
        self._processes = processes
        self._urls = urls
        self._api_key = api_key
        self._token = ""

    def sign_in(self) -> None:
        """Get a token of Airflow's own REST API."""
        self._token = self._airflow.token()

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for ``ready()``; fail with the ends of the logs if it takes too long, or a process ends."""

        def alive() -> bool:
            return self._processes.ended() is None

        try:
            wait_until(ready, seconds=180, what=what, alive=alive, every=0.3)
        except Failed as failure:
            ended = self._processes.ended()
            logs = [ended] if ended else self._processes.running()
            raise Failed("\n".join([str(failure), *(process.tail(12) for process in logs)])) from None

    def post(
        self,
        integration: str,
        payload: Any,
        what: str,
        *,
        expected: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Post to an integration; return the event's id, or nothing where there is no new one."""
        with step(what) as shown:
            status, received, body = fetch(self._urls[integration], payload=payload, headers=headers)
            shown.note = f"{status} {received.get('X-Incoming-Status', '')}".strip()
            if status != expected:
                hint = " Was the integration changed by hand? scripts/demo --reset begins anew." * (
                    status == 404
                )
                raise Failed(f"Expected {expected}, got {status}: {body}{hint}")
        return str(body.get("event_id", "")) if isinstance(body, dict) else ""

    def bearer(self) -> str:
        """Return a JWT for the API key."""
        url = f"{self._airflow.url}/incoming/auth/token"
        status, _, body = fetch(url, payload={"apiKey": self._api_key})
        if status != 200:
            raise Failed(f"No JWT for the API key: {status} {body}")
        return str(body["token"])

    def with_jwt(self) -> dict[str, str]:
        """Return the headers of a request that an integration with JWTs accepts."""
        return {"Authorization": f"Bearer {self.bearer()}", "X-Request-Id": secrets.token_hex(4)}

    def start_run(self, dag_id: str) -> str:
        """Start a DAG by hand, and return the run's id."""
        url = f"{self._airflow.url}/api/v2/dags/{dag_id}/dagRuns"
        headers = {"Authorization": f"Bearer {self._token}"}
        status, _, body = fetch(url, payload={"logical_date": None}, headers=headers)
        if status not in (200, 201):
            raise Failed(f"Airflow would not start {dag_id}: {status} {body}")
        return str(body["dag_run_id"])

    def await_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run that has succeeded."""
        run: dict[str, Any] = {}

        def done() -> bool:
            status, body = self._airflow.api(f"dags/{dag_id}/dagRuns/{run_id}", self._token)
            run.update(body if status == 200 else {})
            return run.get("state") in ENDED

        with step(f"Waiting for DAG {dag_id}") as waiting:
            self.wait(done, f"the run {run_id} to end")
            waiting.note = run["state"]
        if run["state"] != "success":
            raise Failed(f"The run {run_id} of {dag_id} ended as {run['state']}.")
        return run

    def await_event_run(self, dag_id: str, integration: str, event_id: str) -> dict[str, Any]:
        """Return the run that an event has started, when it has succeeded."""
        return self.await_run(dag_id, f"incoming__{integration}__{event_id}")

    def await_asset_run(self, dag_id: str, event_id: str) -> None:
        """Wait until a run of a DAG that an asset schedules has seen an event, and succeeded."""
        with step(f"Waiting for DAG {dag_id}, which an asset starts") as waiting:
            self.wait(lambda: event_id in self._seen(dag_id), f"{dag_id} to have seen event {event_id}")
            waiting.note = "success"

    def await_deferred(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Wait until a task waits in the triggerer."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"

        def is_deferred() -> bool:
            status, body = self._airflow.api(path, self._token)
            return status == 200 and body["state"] == "deferred"

        with step(f"{dag_id} waits for an event"):
            self.wait(is_deferred, f"{task_id} of {dag_id} to be deferred")

    def open_page(self, page: str) -> None:
        """Look at one of the administrator's pages, as a signed-in browser does."""
        with step(f"Opening the page {page}") as shown:
            address = f"{self._airflow.url}/pluginsv2/incoming-ui/{page}"
            status, _, _ = fetch(address, headers={"Cookie": f"_token={self._token}"})
            shown.note = str(status)
            if status != 200:
                raise Failed(f"{address} answered {status}.\n{self._processes.running()[0].tail(12)}")

    def is_known(self, url: str) -> bool:
        """Tell whether there is such an endpoint yet: then what isn't JSON is refused, not unheard of."""
        return fetch(url, payload="", headers={"Content-Type": "text/plain"})[0] != 404

    def is_parsed(self, dag_id: str) -> bool:
        """Tell whether Airflow knows a DAG."""
        return self._airflow.api(f"dags/{dag_id}", self._token)[0] == 200

    def _seen(self, dag_id: str) -> set[str]:
        """Return the ids of the events that the newest successful runs of a DAG have seen."""
        path = f"dags/{dag_id}/dagRuns"
        _, body = self._airflow.api(f"{path}?state=success&order_by=-run_after&limit=5", self._token)
        seen = set()
        for run in body["dag_runs"]:
            _, upstream = self._airflow.api(f"{path}/{run['dag_run_id']}/upstreamAssetEvents", self._token)
            for event in upstream["asset_events"]:
                extra = event["extra"].get("payload") or event["extra"]
                seen.add(extra.get("_incoming.event_id"))
        return seen
