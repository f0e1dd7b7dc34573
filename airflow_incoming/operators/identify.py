"""Makes customer records of what came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_incoming.core.customers import Batch, Customer, CustomerRules, IdentifierNames
from airflow_incoming.operators.event import incoming_event
from airflow_incoming.operators.payloads import UnusablePayload, read_payload


class IdentifyCustomerOperator(BaseOperator):
    """Returns the customer whom an event or a payload is about: identifiers and attributes, apart.

    ``identifiers`` names the parameters of each kind (``email``, ``custom_id``, ``phone``, ``uuid``), the
    preferred kind first; ``*`` stands for one segment: ``{"email": "form_response.answers.*.email"}``. By
    default a parameter of the same name as the kind is looked for. Identifiers are normalised: e-mail in
    lower case, phone as ``+`` and digits (``default_country_code`` completes those without one), UUIDs in
    canonical form, custom ids trimmed.

    ``data`` (templated) is what to look at, flat or nested; by default the event that started this run. Of
    one record one customer is returned, ``{"identified_by": "email", "identifiers": {"email": …},
    "attributes": {…}}``; attributes are flattened and keep their types. Of a list of records a list is
    returned, in their order, and the records without a customer are in the XCom ``unidentified`` as
    ``{"index": 3, "reason": "…"}``.

    ``on_missing``: where no customer was found at all, ``skip`` this task, or ``fail`` it; ``fail`` also
    where some records of a list have none.
    """

    template_fields: Sequence[str] = ("data",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"data": "json"}
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        data: Any = None,
        identifiers: IdentifierNames | None = None,
        default_country_code: str | int | None = None,
        on_missing: Literal["skip", "fail"] = "skip",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_missing not in ("skip", "fail"):
            raise ValueError(f'on_missing must be "skip" or "fail", not {on_missing!r}')
        CustomerRules(identifiers, default_country_code=default_country_code)  # mistakes show when parsed
        self.data = data
        self.identifiers = identifiers
        self.default_country_code = default_country_code
        self.on_missing = on_missing

    def execute(self, context: Context) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the customer, or the customers of a list."""
        rules = CustomerRules(self.identifiers, default_country_code=self.default_country_code)
        data = self._data(context)
        if isinstance(data, list):
            return self._all(rules.identify_all(_records(data)), context)
        found = rules.identify(data)
        if not isinstance(found, Customer):
            self._missing(f"No customer: {found.reason}")
        self._report(found)
        return found.to_dict()

    def _data(self, context: Context) -> Mapping[str, Any] | list[Any]:
        if self.data is None:
            return incoming_event(context).data
        try:
            return read_payload(self.data)
        except UnusablePayload as error:
            raise AirflowFailException(error.detail.replace("payload", "data", 1)) from error

    def _all(self, batch: Batch, context: Context) -> list[dict[str, Any]]:
        unidentified = [{"index": one.index, "reason": one.reason} for one in batch.unidentified]
        total = len(batch.customers) + len(unidentified)
        self.log.info("%d of %d records have a customer", len(batch.customers), total)
        for one in batch.unidentified[:20]:
            self.log.warning("Record %d: %s", one.index, one.reason)
        context["ti"].xcom_push(key="unidentified", value=unidentified)
        if unidentified and (self.on_missing == "fail" or not batch.customers):
            self._missing(f"{len(unidentified)} of {total} records have no customer")
        return [customer.to_dict() for customer in batch.customers]

    def _report(self, customer: Customer) -> None:
        self.log.info("Identified by %s", ", ".join(customer.identifiers))
        for name, problem in customer.unusable.items():
            self.log.warning("Parameter %s %s", name, problem)

    def _missing(self, reason: str) -> NoReturn:
        raise AirflowFailException(reason) if self.on_missing == "fail" else AirflowSkipException(reason)


def _records(data: list[Any]) -> list[Mapping[str, Any]]:
    for index, record in enumerate(data):
        if not isinstance(record, Mapping):
            raise AirflowFailException(f"data[{index}] must be an object, not {type(record).__name__}")
    return data
