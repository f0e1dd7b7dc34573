"""One integration on the editor's page: its values, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any
from uuid import UUID

from airflow_incoming.core.conf import build_conf, conf_size
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import ApiKey
from airflow_incoming.core.units import format_size
from airflow_incoming.services.readiness import Readiness
from airflow_incoming.services.rights import refusals
from airflow_incoming.web.views import snippets
from airflow_incoming.web.views.editing_data import EditingData
from airflow_incoming.web.views.editor_form import PLACES, TITLES, read_form, section_of
from airflow_incoming.web.views.icons import builtin_icons


class Editing(EditingData):
    """What the templates of the editor ask; each answer is looked up once, when it is asked for."""

    @cached_property
    def configuration(self) -> Configuration | None:
        """The configuration that the values make; None where something is wrong."""
        return read_form(self.values)[0]

    def is_changed(self, section: str) -> bool:
        """Tell whether the values of a section differ from what is saved."""
        return self.values.differs(self.saved, section)

    @property
    def has_changes(self) -> bool:
        """Tell whether anything differs from what is saved."""
        return any(map(self.is_changed, self.sections))

    @property
    def titles(self) -> Mapping[str, str]:
        """The sections, as the page calls them."""
        return TITLES

    def place_of(self, field: str) -> tuple[str, str]:
        """Return what a field is called, and the id of its place on the page."""
        return PLACES.get(field, (field, f"section-{section_of(field)}"))

    # -- Endpoint

    @property
    def url(self) -> str | None:
        """The address of the endpoint, None where the visitor may not know it."""
        if not self.rights.see_url:
            return None
        return f"{self._services.base_url()}/{self.integration.endpoint_id}"

    @property
    def opens_up(self) -> bool:
        """Tell whether an endpoint that took tokens would take none any more."""
        return (self.saved.auth_type, self.values.auth_type) == ("jwt", "none")

    @cached_property
    def keys(self) -> list[ApiKey]:
        """The API keys that can be chosen."""
        return [key for key in self._services.keys().list() if key.state(self.now) == "active"]

    @property
    def key_is_closed(self) -> bool:
        """Tell whether the chosen API key opens nothing: it is revoked, expired or gone."""
        chosen = self.values.api_key
        return bool(chosen) and chosen not in {key.name for key in self.keys}

    @property
    def builtin_icons(self) -> tuple[str, ...]:
        """The names of the icons that come with us."""
        return builtin_icons()

    @cached_property
    def uploaded_icons(self) -> list[str]:
        """The names of the icons that were uploaded."""
        return self._services.icons().uploaded()

    @property
    def icon_is_missing(self) -> bool:
        """Tell whether an icon was chosen that isn't there; one that came from a file may stay."""
        icon = self.values.icon
        return icon not in ("", self.saved.icon, *self.builtin_icons) and icon not in self.uploaded_icons

    @property
    def curl(self) -> str:
        """Shell commands that send to the endpoint."""
        return snippets.curl(self._target, self._payload)

    @property
    def python(self) -> str:
        """A Python program that sends to the endpoint."""
        return snippets.python(self._target, self._payload)

    @property
    def sends_sample(self) -> bool:
        """Tell whether these send the sample rather than an example."""
        return self.sample is not None and self._payload == self.sample.body

    @property
    def sends_extras(self) -> bool:
        """Tell whether these send headers or a query, because deduplication looks at them."""
        return bool(self._target.headers or self._target.query)

    @cached_property
    def _target(self) -> snippets.Target:
        base = self._services.base_url()
        chosen = self.values.parameter if self.values.deduplicate else ()
        return snippets.target(
            self.url or "",
            token_url=f"{base}/auth/token" if self.values.auth_type == "jwt" else None,
            parameters=chosen,
            sample=self.sample,
        )

    @property
    def _payload(self) -> str:
        return snippets.payload_of(None if self.sample is None else self.sample.body)

    # -- Workflow

    @property
    def may_emit_assets(self) -> bool:
        """Tell whether the visitor may name assets."""
        return self._visitor.may_emit_assets()

    @cached_property
    def refused_targets(self) -> tuple[str, ...]:
        """Why the visitor may not start all of the chosen targets, as sentences."""
        wanted = Configuration(dags=self.values.dag, assets=self.values.asset_list)
        return refusals(self._visitor, self._services.manager().stakes_of_draft(self.name, wanted))

    @cached_property
    def readiness(self) -> list[Readiness]:
        """One line for each chosen DAG."""
        readable = self._visitor.readable_dags(self.values.dag)
        return self._services.readiness().dags(self.values.dag, self.sample_conf, readable=readable)

    @cached_property
    def asset_readiness(self) -> list[Readiness]:
        """One line for each chosen asset."""
        readable = self._visitor.may_read_assets()
        return self._services.readiness().assets(self.values.asset_list, readable=readable)

    @cached_property
    def sample_conf(self) -> dict[str, Any] | None:
        """The conf that a DAG run would get from the sample, for those who may see a sample."""
        if not self.rights.edit or self.sample is None:
            return None
        return build_conf(
            self.sample.body.encode(),
            Configuration(headers=self.values.header_list),
            event_id=UUID(int=0),
            integration=self.name,
            received_at=self.sample.captured_at,
            headers=self.sample.headers,
        )

    @property
    def conf_size(self) -> int:
        """The bytes of that conf."""
        return conf_size(self.sample_conf or {})

    @property
    def conf_limit(self) -> int:
        """The bytes that a conf may have."""
        own = self.configuration.limits.conf if self.configuration else None
        return own or self._services.settings().max_conf

    # -- Limits

    @property
    def defaults(self) -> dict[str, str]:
        """The limits of the installation, as they would be typed."""
        settings = self._services.settings()
        return {"body": format_size(settings.max_body), "conf": format_size(settings.max_conf)}
