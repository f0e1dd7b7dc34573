"""The way in, and the permissions that the views of the pages bring along."""

from __future__ import annotations

import flask
from flask.typing import ResponseReturnValue
from flask_appbuilder import BaseView
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.csrf import csrf_token
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

    @expose("/<path:path>", methods=("GET", "POST", "PUT", "PATCH", "DELETE"))
    @needs()
    def nowhere(self, path: str) -> ResponseReturnValue:
        """Say that there is no such page; an address that is only posted to leads to its page."""
        here = flask.request.path
        is_posted = _answers_to("POST", here)
        if not is_posted or flask.request.method != "GET":
            flask.abort(405 if is_posted or _answers_to("GET", here) else 404)
        return flask.redirect(flask.request.script_root + _nearest_page(here), code=303)

    @expose("/csrf", methods=("GET",))
    @needs()
    def csrf(self) -> ResponseReturnValue:
        """Return a fresh CSRF token: one lives an hour, an editor may stay open for longer."""
        return {"csrf_token": csrf_token()}


def _nearest_page(path: str) -> str:
    """Return the page that a posted address belongs to: /integrations/orders for …/orders/save."""
    while not _answers_to("GET", path):
        path = path.rpartition("/")[0]
    return path


def _answers_to(method: str, path: str) -> bool:
    """Tell whether a view of ours answers to a path, other than the one that says that there is none."""
    adapter = flask.current_app.create_url_adapter(flask.request)
    try:
        endpoint, _ = adapter.match(path, method)  # type: ignore[union-attr]  # there is a request
    except RequestRedirect:  # the same with a slash at its end
        return True
    except HTTPException:
        return False
    return bool(endpoint != "HomePage.nowhere")


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
