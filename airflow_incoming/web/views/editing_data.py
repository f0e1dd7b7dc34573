"""The part of an integration being edited that is about its data: what came, and the hash of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from airflow_incoming.core.errors import IncomingError
from airflow_incoming.core.fingerprint import fingerprint
from airflow_incoming.core.integration import Deduplication
from airflow_incoming.core.parameters import is_sensitive_header
from airflow_incoming.core.payload import parse_json
from airflow_incoming.core.records import Captured, Integration, ListenerRecord, Sample
from airflow_incoming.core.redaction import first_redacted
from airflow_incoming.core.sample import Parameter, parameters_of
from airflow_incoming.core.units import format_duration, parse_duration
from airflow_incoming.stores.events import Criteria
from airflow_incoming.web.access import Visitor
from airflow_incoming.web.views.editor_form import SECTIONS, Values, values_of_configuration
from airflow_incoming.web.views.editor_rights import Rights, rights_on
from airflow_incoming.web.views.services import Services

#: Parameters of a request that are shown, and offered for deduplication; any other can be typed.
MOST_SHOWN = 300
#: How long it is worth saying that nothing came.
REMEMBER_SILENCE = timedelta(minutes=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A request as the page shows it."""

    parameters: list[tuple[str, Any]]
    left_out: int
    query: list[tuple[str, str]]
    pretty: str


class EditingData:
    """Values of the editor's form, and what is known of the data that comes.

    ``values`` are those of the form, ``errors`` what is wrong with them, by field. ``expected`` is the
    number of the version that the form began with. ``refused`` is a parameter that was one too many.
    """

    def __init__(
        self,
        services: Services,
        visitor: Visitor,
        integration: Integration,
        *,
        now: datetime,
        values: Values | None = None,
        expected: int | None = None,
        opened: Collection[str] = (),
        errors: Mapping[str, str] | None = None,
    ) -> None:
        self.integration = integration
        self.name = integration.name
        self.now = now
        self.saved = values_of_configuration(integration.current.configuration)
        self.values = self.saved if values is None else values
        self.before = self.values
        self.expected = integration.current.number if expected is None else expected
        self.opened = set(opened)
        self.errors = dict(errors or {})
        self.refused: str | None = None
        self.sections = tuple(SECTIONS)
        self._services = services
        self._visitor = visitor

    @cached_property
    def rights(self) -> Rights:
        """What the visitor may do with the integration."""
        return rights_on(self._visitor, self.integration, self._services.manager())

    # -- Incoming data

    @cached_property
    def listener(self) -> ListenerRecord | None:
        """What *Retrieve data* has found so far; None where nobody listened lately, or it is for others."""
        if not self.rights.retrieve:
            return None
        found: ListenerRecord | None = self._services.listening().look(self.name)
        if found is None or found.captured is not None:
            return found
        return found if self.now < found.listens_until + REMEMBER_SILENCE else None

    @property
    def listens(self) -> bool:
        """Tell whether the endpoint still waits for a request."""
        listener = self.listener
        return listener is not None and listener.captured is None and listener.listens_until > self.now

    @cached_property
    def sample(self) -> Sample | None:
        """The request that was kept as the example; None where there is none."""
        found: Sample | None = self._services.listening().sample(self.name)
        return found

    @cached_property
    def newest_event(self) -> UUID | None:
        """The newest event, which could be the sample; None where there is none."""
        newest = self._services.events().list(Criteria(integration=self.name, limit=1))
        return newest[0].id if newest else None

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters of the sample."""
        s = self.sample
        return () if s is None else parameters_of(body=s.body, headers=s.headers, query=s.query)

    def shown(self, stored: Captured | Sample) -> Shown:
        """Return a captured request or a sample as the page shows it."""
        found = parameters_of(body=stored.body, headers={}, query="")
        return Shown(
            parameters=[(each.name.removeprefix("body."), each.value) for each in found[:MOST_SHOWN]],
            left_out=max(0, len(found) - MOST_SHOWN),
            query=parse_qsl(stored.query, keep_blank_values=True),
            pretty=json.dumps(parse_json(stored.body.encode()), ensure_ascii=False, indent=2),
        )

    # -- Deduplication

    @property
    def offered(self) -> list[Parameter]:
        """Parameters that can make a hash: no credentials, they are not kept."""
        return self._choosable[:MOST_SHOWN]

    @property
    def not_offered(self) -> int:
        """How many more there are."""
        return len(self._choosable) - len(self.offered)

    @property
    def typed_parameters(self) -> list[tuple[str, bool]]:
        """Chosen parameters that are not offered, and whether the sample has them."""
        offered = {parameter.name for parameter in self.offered}
        there = {parameter.name for parameter in self._choosable}
        return [(name, name in there) for name in self.values.parameter if name not in offered]

    @property
    def own_hash(self) -> bool:
        """Tell whether the sender makes the hash: a header is the only parameter."""
        chosen = self.values.parameter
        return len(chosen) == 1 and chosen[0].startswith("header.")

    @cached_property
    def sample_hash(self) -> tuple[str | None, str]:
        """The hash that the sample would have, or why there is none."""
        if self.sample is None or not self.values.parameter:
            return None, ""
        redacted = first_redacted(self.values.parameter, self.sample.headers, self.sample.query)
        if redacted is not None or any(map(_is_sensitive, self.values.parameter)):
            return None, "It can't be shown: what carries a credential is not kept in the sample."
        try:
            found = fingerprint(
                integration_id=self.integration.id,
                deduplication=Deduplication(parameters=self.values.parameter),
                payload=parse_json(self.sample.body.encode()),
                headers=self.sample.headers,
                query=self.sample.query,
            )
        except IncomingError as error:
            return None, error.detail
        if found is None:
            return None, "The sample has none of them: such a request would be accepted undeduplicated."
        return found, ""

    @property
    def starts_new_memory(self) -> bool:
        """Tell whether the live version remembers other hashes than this one would."""
        live = self._live
        return live is not None and set(live.parameters) != set(self.values.parameter)

    @property
    def window_change(self) -> tuple[str, str] | None:
        """What another window than the published one means, as a title and a text; None where it stays."""
        live = self._live
        try:
            window = parse_duration(self.values.window)
        except ValueError:  # as the field says
            return None
        if live is None or self.starts_new_memory or window == live.window:
            return None
        new, old = format_duration(window), format_duration(live.window)
        if window < live.window:
            title = f"This shortens the window from {old} to {new}"
            return title, (
                f"Once this is published, what was last sent more than {new} ago counts as new. Where Redis "
                "was lost, the database alone decides, which may have seen it last up to an hour earlier."
            )
        title = f"This lengthens the window from {old} to {new}"
        return title, (
            f"Once this is published, what was last sent less than {new} ago is a duplicate, as far as it is "
            f"still remembered. What was last sent more than {old} ago may be forgotten, and counts as new."
        )

    @property
    def _live(self) -> Deduplication | None:
        """The published deduplication, where there would be one after publishing this, too."""
        live = self.integration.published
        return live.configuration.deduplication if live is not None and self.values.deduplicate else None

    @cached_property
    def _choosable(self) -> list[Parameter]:
        return [each for each in self.parameters if not _is_sensitive(each.name)]


def _is_sensitive(parameter: str) -> bool:
    return parameter.startswith("header.") and is_sensitive_header(parameter.removeprefix("header."))
