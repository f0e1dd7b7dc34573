"""Requests that became no event: duplicates, and what was rejected."""

from __future__ import annotations

from uuid import UUID

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.page import ROOT, Page, expose, needs

PAGE = 50
OUTCOMES = (("", "Any outcome"), ("duplicate", "Duplicate"), ("rejected", "Rejected"))


class RequestPages(Page):
    """The list of what was not accepted lately."""

    route_base = f"{ROOT}/requests"

    @expose("/", methods=("GET",))
    @needs(Permission.READ_EVENTS)
    def list(self) -> ResponseReturnValue:
        """Show the newest requests that match."""
        integration = flask.request.args.get("integration", "").strip() or None
        outcome = flask.request.args.get("outcome", "").strip() or None
        if outcome not in ("duplicate", "rejected"):
            outcome = None
        before = _cursor(flask.request.args.get("before", ""))
        found = self.services.watch().requests(
            integration=integration, outcome=outcome, before=before, limit=PAGE + 1
        )
        names = [each.name for each in self.services.manager().list()]
        if integration and integration not in names:
            names.append(integration)
        return self.show(
            "requests/list.html",
            active="requests",
            requests=found[:PAGE],
            older=found[PAGE - 1].id if len(found) > PAGE else None,
            is_first=before is None,
            integration=integration,
            outcome=outcome,
            integrations=[("", "Any integration"), *((name, name) for name in names)],
            outcomes=OUTCOMES,
        )


def _cursor(text: str) -> UUID | None:
    """Return where a page begins; the newest where that can't be told."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
