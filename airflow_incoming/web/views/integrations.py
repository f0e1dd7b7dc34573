"""The list of integrations, and the dialog that makes one."""

from __future__ import annotations

from datetime import datetime, timezone

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.new_integration import NewIntegrationForm, Refused, carry_out
from airflow_incoming.web.views.overview import COLUMNS, Row, make_rows, select
from airflow_incoming.web.views.page import ROOT, Page, expose, needs, visitor

Rows = list[Row]


class IntegrationPages(Page):
    """What there is, and how it goes."""

    route_base = f"{ROOT}/integrations"

    @expose("/", methods=("GET",))
    @needs(Permission.READ_INTEGRATIONS)
    def list(self) -> ResponseReturnValue:
        """Show all integrations, or those that hold a text, sorted by a column."""
        text = flask.request.args.get("q", "").strip()
        column = flask.request.args.get("sort", COLUMNS[0])
        descending = flask.request.args.get("order") == "desc"
        rows, keys = self._rows(), self.services.keys().usable_names()
        return self.show(
            "integrations/list.html",
            active="integrations",
            rows=select(rows, text=text, column=column, descending=descending),
            total=len(rows),
            watched=self.services.events().watched(),
            text=text,
            column=column,
            descending=descending,
            form=NewIntegrationForm(key_source="existing" if keys else "new"),
            keys=keys,
        )

    @expose("/", methods=("POST",))
    @needs(Permission.EDIT_INTEGRATIONS)
    def create(self) -> ResponseReturnValue:
        """Make a draft and go to its editor; show the API key first where one was made."""
        form = NewIntegrationForm.read(flask.request.form)
        if form.makes_key and not visitor().may(Permission.EDIT_KEYS):
            form = form.refused(key_name="You may not make API keys; choose one, or ask an administrator.")
            return self._refuse(form)
        services = self.services
        try:
            made = carry_out(form, services.manager(), services.keys(), by=visitor())
        except Refused as refused:
            return self._refuse(refused.form)
        if made is None:
            return self.redirect("EditorPages.edit", notice="created", name=form.name)
        return self.show("integrations/made.html", form=form, made=made, base_url=self.services.base_url())

    def _refuse(self, form: NewIntegrationForm) -> ResponseReturnValue:
        return self.show(
            "integrations/new.html", status=422, form=form, keys=self.services.keys().usable_names()
        )

    def _rows(self) -> Rows:
        found = self.services.manager().list()
        watch = self.services.watch()
        return make_rows(
            found,
            visitor(),
            self.services.base_url(),
            opened=self.services.manager().stakes_of_endpoints(found),
            activity=watch.activity([integration.name for integration in found]),
            last_day=watch.last_day(),
            dead=watch.dead(),
            silent_since=datetime.now(timezone.utc) - self.services.settings().silent_after,
        )
