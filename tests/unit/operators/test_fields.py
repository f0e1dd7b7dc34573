"""Whatever authors and templates put into a template field, Airflow can carry it, as it does itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

from airflow_incoming.operators import (
    IdentifyCustomerOperator,
    IncomingTriggerDagRunOperator,
    WaitForIncomingEventOperator,
)

LARGE = "18446744073709551616"
NATIVE = "{{ dag_run.conf['n'] }}"


def packed(operator: Any) -> dict[str, Any]:
    """Return the fields as one of Airflow's processes gets them from another."""
    fields: dict[str, Any] = msgspec.msgpack.decode(
        msgspec.msgpack.encode(_serialize_rendered_fields(operator))
    )
    return fields


def rendered(make: Any, n: object) -> Any:
    """Return the operator with its fields rendered in a DAG of native objects."""
    with DAG("native", schedule=None, render_template_as_native_obj=True) as dag:
        operator = make()
    context = {"dag_run": SimpleNamespace(conf={"n": n})}
    operator.render_template_fields(context, dag.get_template_env())
    return operator


@pytest.mark.parametrize(
    ("make", "field", "expected"),
    [
        (
            lambda: IncomingTriggerDagRunOperator(task_id="t", trigger_dag_id="d", payload={"n": 2**64}),
            "payload",
            f'{{"n": {LARGE}}}',
        ),
        (
            lambda: IncomingTriggerDagRunOperator(task_id="t", trigger_dag_id="d", payload=2**64),
            "payload",
            LARGE,
        ),
        (
            lambda: IncomingTriggerDagRunOperator(task_id="t", trigger_dag_id="d", payload={"a": "\ud800"}),
            "payload",
            '{"a": "\\ud800"}',
        ),
        (
            lambda: IncomingTriggerDagRunOperator(task_id="t", trigger_dag_id="d", headers={"x": 2**64}),  # type: ignore[dict-item]
            "headers",
            {"x": LARGE},
        ),
        (lambda: IdentifyCustomerOperator(task_id="t", data=[{"n": 1e20}]), "data", '[{"n": 1e+20}]'),
        (
            lambda: WaitForIncomingEventOperator(task_id="t", integration="i", where={"n": 2**64}),
            "where",
            {"n": LARGE},
        ),
    ],
)
def test_what_authors_write(make: Any, field: str, expected: object) -> None:
    """Airflow sends it when the DAG is parsed."""
    assert packed(make())[field] == expected


@pytest.mark.parametrize("n", [LARGE, f"-{LARGE}", "1e300", "'\\ud800'", "12", "None", "[1]"])
@pytest.mark.parametrize(
    "options",
    [
        {"payload": NATIVE},
        {"payload": {"n": NATIVE}},
        {"headers": {"x-n": NATIVE}},
        {"headers": NATIVE},
        {"deduplication_scope": NATIVE},
        {"payload_file": NATIVE},
    ],
)
def test_what_native_templates_make(options: dict[str, Any], n: str) -> None:
    """A stranger's text becomes a number, or half a character, again."""
    make = lambda: IncomingTriggerDagRunOperator(task_id="t", **{"trigger_dag_id": NATIVE, **options})  # noqa: E731
    operator = rendered(make, n)
    packed(operator)
    if n in (LARGE, "12"):
        assert operator.trigger_dag_id == n
    if "payload" in options and n == LARGE:
        assert operator.payload in (LARGE, f'{{"n": {LARGE}}}')


@pytest.mark.parametrize("mapped", ["trigger", "identify", "wait"])
def test_fields_of_mapped_tasks(mapped: str) -> None:
    """They are rendered past the operator's own methods."""
    with DAG("mapped", schedule=None, render_template_as_native_obj=True) as dag:
        operator: Any = {
            "trigger": lambda: IncomingTriggerDagRunOperator.partial(
                task_id="t", payload={"n": NATIVE}, headers={"x": NATIVE}
            ).expand(trigger_dag_id=["a"]),
            "identify": lambda: IdentifyCustomerOperator.partial(
                task_id="t", identifiers={"email": "e"}
            ).expand(data=[{"n": NATIVE}]),
            "wait": lambda: WaitForIncomingEventOperator.partial(task_id="t", where={"n": NATIVE}).expand(
                integration=["a"]
            ),
        }[mapped]()
    for n in (LARGE, "None", "12"):
        ti = SimpleNamespace(map_index=0, task_id="t", run_id="r", dag_id="mapped", xcom_pull=None)
        context: Any = {
            "dag": dag,
            "dag_run": SimpleNamespace(conf={"n": n}),
            "ti": ti,
            "map_index": 0,
            "task": operator,
        }
        operator.render_template_fields(context, dag.get_template_env())
        fields = packed(context["task"])
        if mapped == "wait":
            assert fields["where"] == {"n": n}
