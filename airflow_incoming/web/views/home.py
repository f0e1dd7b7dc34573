"""The way in, and the permissions that the views of the pages bring along."""

from __future__ import annotations

import flask
from flask.typing import ResponseReturnValue
from flask_appbuilder import BaseView
from flask_wtf.csrf import generate_csrf

from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.page import ROOT, Page, expose, needs, visitor

#: Where the pages begin for whoever may see them, the first that a visitor may read.
BEGINNINGS = (
    (Permission.READ_INTEGRATIONS, "IntegrationPages.list"),
    (Permission.READ_EVENTS, "EventPages.list"),
    (Permission.READ_KEYS, "KeyPages.list"),
)
_ACTIONS = {"GET": "can_read", "PUT": "can_edit"}


class HomePage(Page):
    """What Airflow's navigation opens."""

    route_base = ROOT

    @expose("/", methods=("GET",))
    @needs()
    def index(self) -> ResponseReturnValue:
        """Go to the first page that the visitor may read; to a refusal where there is none."""
        readable = (endpoint for permission, endpoint in BEGINNINGS if visitor().may(permission))
        return flask.redirect(flask.url_for(next(readable, BEGINNINGS[0][1])))

    @expose("/csrf", methods=("GET",))
    @needs()
    def csrf(self) -> ResponseReturnValue:
        """Return a fresh CSRF token: one lives an hour, an editor may stay open for longer."""
        return {"csrf_token": generate_csrf()}


def permission_views() -> list[BaseView]:
    """Return views without pages, through which FAB learns our permissions and grants them to Admin."""
    actions: dict[str, list[str]] = {}
    for permission in Permission:
        actions.setdefault(permission.resource, []).append(_ACTIONS[permission.method])
    return [_permission_view(resource, names) for resource, names in actions.items()]


def _permission_view(resource: str, actions: list[str]) -> BaseView:
    name = resource.replace(" ", "")
    members = {"class_permission_name": resource, "base_permissions": actions, "route_base": f"{ROOT}/{name}"}
    return type(name, (BaseView,), members)()
