"""What the views of one integration share."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone
from typing import NoReturn

import flask

from airflow_incoming.core.records import Integration
from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.editing import Editing
from airflow_incoming.web.views.editor_form import Values, values_of_form, whole_number
from airflow_incoming.web.views.page import ROOT, Page, visitor

LOOK = Permission.READ_INTEGRATIONS
EDIT = Permission.EDIT_INTEGRATIONS
PUBLISH = Permission.PUBLISH_INTEGRATIONS


class EditorBase(Page):
    """Base of the views below ``/integrations/<name>``."""

    route_base = f"{ROOT}/integrations"

    def editing(self, name: str) -> Editing:
        """Return an integration as it is saved. Raises NotFound."""
        return self.editing_of(self.services.manager().show(name))

    def editing_form(self, name: str, *, opened: Collection[str] = ()) -> Editing:
        """Return an integration with the values of the posted form.

        Raises NotFound; answers 403 where the visitor may not change this integration.
        """
        form = flask.request.form
        number = form.getlist("expected")[-1] if "expected" in form else ""
        editing = self.editing_of(
            self.services.manager().show(name),
            values=values_of_form(form),
            expected=whole_number(number) or 0,
            opened=opened,
        )
        if not editing.rights.edit:
            refuse(editing)
        return editing

    def editing_of(
        self,
        integration: Integration,
        *,
        values: Values | None = None,
        expected: int | None = None,
        opened: Collection[str] = (),
    ) -> Editing:
        """Return what the templates of the editor ask about an integration."""
        return Editing(
            self.services,
            visitor(),
            integration,
            now=datetime.now(timezone.utc),
            values=values,
            expected=expected,
            opened=opened,
        )


def refuse(editing: Editing) -> NoReturn:
    """Answer 403: the targets of this integration are not the visitor's."""
    flask.abort(403, f"{' '.join(editing.rights.blocked)} So you can't change this integration.")
