"""Template fields that every part of Airflow can carry.

Airflow sends the fields of a task from process to process when a DAG is parsed and again when they are
rendered, before the task begins. A number outside of 64 bits, or a lone surrogate, ends the process that
sends it, with nothing in the task's log. Templates give such values where a DAG renders native objects.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from airflow_incoming.core.conf import carried, is_carried
from airflow_incoming.operators.payloads import as_text


class CarriedFields(BaseOperator):
    """An operator whose template fields are made what Airflow can carry when they are set.

    That is when the DAG is parsed, when fields are rendered, and when those of a mapped task are.
    """

    #: Fields that are names or paths: whatever a native template makes of one, it is text.
    text_fields: frozenset[str] = frozenset()
    #: Fields that are payloads: the text of what can't be carried has to mean the same.
    payload_fields: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.template_fields:
            value = self._carried(name, value)
        super().__setattr__(name, value)

    def _carried(self, name: str, value: Any) -> Any:
        if name in self.text_fields and isinstance(value, bool | int | float):
            return str(value)
        if is_carried(value):
            return value
        if name in self.payload_fields:
            return as_text(value)
        return carried(value)
