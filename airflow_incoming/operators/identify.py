"""Makes customer records of what came in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar, Literal, NoReturn

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_incoming.core.customers import Customer, CustomerRules, IdentifierNames, Unidentified
from airflow_incoming.core.payload import parse_portable
from airflow_incoming.operators.event import event_of_conf, incoming_event, incoming_events
from airflow_incoming.operators.fields import CarriedFields
from airflow_incoming.operators.payloads import UnusablePayload, read_payload


class IdentifyCustomerOperator(CarriedFields):
    """Returns the customer whom an event or a payload is about: identifiers and attributes, apart.

    ``identifiers`` names the parameters of each kind (``email``, ``custom_id``, ``phone``, ``uuid``), the
    preferred kind first; ``*`` stands for one segment: ``{"email": "form_response.answers.*.email"}``. By
    default a parameter of the same name as the kind is looked for. Identifiers are normalised: e-mail in
    lower case, phone as ``+`` and digits, UUIDs in canonical form, custom ids trimmed. A phone number that is
    written without a country code counts if ``default_country_code`` says which it is.
    ``header.x-customer`` is a header that the integration passes on.

    ``data`` (templated) is what to look at, flat or nested, without headers; by default the event that
    started this run. Of one record one customer is returned, ``{"identified_by": "email", "identifiers":
    {"email": …}, "attributes": {…}}``; attributes are flattened and keep their types. Of a list of records,
    of an event whose payload is an array, and of a run that assets started (with one event or several), a
    list is returned, in their order, and the records without a customer are in the XCom ``unidentified``
    as ``{"index": 3, "reason": "…"}``.

    ``on_missing``: where no customer was found at all, ``skip`` this task, or ``fail`` it; ``fail`` also
    where some records of a list have none.
    """

    template_fields: Sequence[str] = ("data",)
    payload_fields = frozenset({"data"})
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
        """Return the customer, or the customers of a list, an array, or the events of assets."""
        rules = CustomerRules(self.identifiers, default_country_code=self.default_country_code)
        if self.data is None:
            return self._of_events(rules, context)
        try:
            data = parse_portable(read_payload(self.data).body)  # what is returned goes through XCom
        except UnusablePayload as error:
            raise AirflowFailException(error.detail.replace("payload", "data", 1)) from error
        if isinstance(data, list):
            return self._all(rules.identify_all(data), context)
        return self._one(rules.identify(data))

    def _of_events(self, rules: CustomerRules, context: Context) -> dict[str, Any] | list[dict[str, Any]]:
        event = event_of_conf(context)
        if event is not None and not isinstance(event.payload, list):
            return self._one(rules.identify(event.data, headers=event.headers))
        events = incoming_events(context) or (incoming_event(context),)  # which says why there is none
        found = [rules.identify_all(event.records, headers=event.headers) for event in events]
        return self._all(list(chain.from_iterable(found)), context)

    def _one(self, found: Customer | Unidentified) -> dict[str, Any]:
        if not isinstance(found, Customer):
            self._missing(f"No customer: {found.reason}")
        self._report(found)
        return found.to_dict()

    def _all(self, found: Sequence[Customer | Unidentified], context: Context) -> list[dict[str, Any]]:
        customers = [each.to_dict() for each in found if isinstance(each, Customer)]
        unidentified = [
            {"index": index, "reason": each.reason}
            for index, each in enumerate(found)
            if isinstance(each, Unidentified)
        ]
        self.log.info("%d of %d records have a customer", len(customers), len(found))
        for each in unidentified[:20]:
            self.log.warning("Record %d: %s", each["index"], each["reason"])
        context["ti"].xcom_push(key="unidentified", value=unidentified)
        if not customers or (unidentified and self.on_missing == "fail"):
            self._missing(
                f"{len(unidentified)} of {len(found)} records have no customer" if found else "No records"
            )
        return customers

    def _report(self, customer: Customer) -> None:
        self.log.info("Identified by %s", ", ".join(customer.identifiers))
        for name, problem in customer.unusable.items():
            self.log.warning("Parameter %s %s", name, problem)

    def _missing(self, reason: str) -> NoReturn:
        raise AirflowFailException(reason) if self.on_missing == "fail" else AirflowSkipException(reason)
