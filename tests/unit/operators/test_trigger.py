"""What the operator tells before it has reached Redis or Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_incoming.operators import IncomingTriggerDagRunOperator, installation

TI = SimpleNamespace(dag_id="nightly", task_id="send", run_id="r", map_index=-1)


@pytest.fixture(autouse=True)
def without_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__INCOMING__REDIS_URL", "")
    installation.settings.cache_clear()
    installation.claims.cache_clear()
    yield
    installation.settings.cache_clear()


def execute(**options: Any) -> None:
    options = {"payload": {"order": {"id": 7}}, **options}
    operator = IncomingTriggerDagRunOperator(task_id="send", trigger_dag_id="process_order", **options)
    operator.execute({"ti": TI})  # type: ignore[typeddict-item]


def test_no_redis() -> None:
    """Where the worker knows no Redis, no retry helps; the option is named, and a way without."""
    with pytest.raises(AirflowFailException) as caught:
        execute(deduplication_parameters=["order.id"])
    assert str(caught.value) == (
        "Deduplication in tasks needs Redis, and [incoming] redis_url is empty here. Set "
        "AIRFLOW__INCOMING__REDIS_URL where workers and the triggerer run, too, or leave "
        "deduplication_parameters out."
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"payload": None}, "payload is None"),
        ({"payload_file": "orders.json"}, "Give payload or payload_file, not both"),
        ({"deduplication_scope": ""}, "must be a name of 1 to 250 printable characters"),
        ({"payload": [0] * 100_000}, "more than 10000 parameters"),
    ],
)
def test_unusable(options: dict[str, Any], said: str) -> None:
    """What can't be sent is not tried again."""
    with pytest.raises(AirflowFailException, match=said):
        execute(**options)
