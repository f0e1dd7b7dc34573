"""Lets one of many tasks that send the same trigger it, and tells the others which run that was."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from airflow_incoming.core.errors import RedisUnavailable, Undecided
from airflow_incoming.operators import runs
from airflow_incoming.stores.claims import PENDING, Claim, Claims

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
#: A claim turns stale after so long; then somebody is sure to have it.
_PATIENCE = PENDING + timedelta(minutes=1)


class Gate:
    """The way to one DAG run for one deduplication hash."""

    def __init__(self, claims: Claims, hash_: str, *, window: timedelta) -> None:
        self._claims = claims
        self._hash = hash_
        self._window = window

    def enter(self, dag_id: str, run_id: str) -> Claim | None:
        """Claim the hash for this run; return the claim of the run that was first, if that exists.

        Waits while another task is just triggering. Raises RedisUnavailable, RunUncertain, Undecided.
        """
        give_up = time.monotonic() + _PATIENCE.total_seconds()
        pause, instead_of = _FIRST_PAUSE, ""
        while time.monotonic() < give_up:
            claim = self._take(dag_id, run_id, instead_of)
            if claim.is_ours:
                return None
            if claim.state == "confirmed":
                return claim
            if runs.exists(claim.dag_id, claim.run_id):  # and its task hasn't said so, or never could
                self._claims.confirm(self._hash, run_id=claim.run_id, window=self._window)
                return claim
            if claim.state == "stale":
                instead_of = claim.run_id
                continue
            log.info("Another task is just triggering the same: run %s", claim.run_id)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise Undecided("Other tasks try to trigger the same, and none succeeds. Retry this task.")

    def pass_through(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
        """Make the run and confirm the claim; tell whether the run is new.

        Where Airflow refuses the run, the claim is given back. After anything else, a timeout above all, the
        API server may still be making it though nobody can see it yet: the claim stays with this run, whose
        retry goes on, and turns stale.
        """
        try:
            created = runs.create_run(dag_id, run_id, conf)
        except runs.RunRefused:
            self._give_back(dag_id, run_id)
            raise
        self._confirm(run_id)
        return created

    def _take(self, dag_id: str, run_id: str, instead_of: str) -> Claim:
        try:
            return self._claims.take(
                self._hash, dag_id=dag_id, run_id=run_id, window=self._window, instead_of=instead_of
            )
        except RedisUnavailable as error:
            raise RedisUnavailable(
                f"{error.detail} Without it nobody knows what was sent already, so nothing was triggered. "
                "Retry this task, and check [incoming] redis_url where it ran."
            ) from error

    def _give_back(self, dag_id: str, run_id: str) -> None:
        """Release the claim, unless an earlier try has made the run, or nobody can tell."""
        try:
            if not runs.exists(dag_id, run_id):
                self._claims.release(self._hash, run_id=run_id)
        except Exception as error:  # noqa: BLE001 - what has failed first is what the task must say
            log.warning("The claim of what was to be sent stays for %s: %s", PENDING, error)

    def _confirm(self, run_id: str) -> None:
        # The run exists, and whoever meets the pending claim will see that.
        try:
            if not self._claims.confirm(self._hash, run_id=run_id, window=self._window):
                log.warning("Redis has lost the claim of run %s: the same may be triggered again", run_id)
        except RedisUnavailable as error:
            log.warning("The claim of run %s could not be confirmed: %s", run_id, error.detail)
