"""What every template can use without being handed it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import flask
from markupsafe import Markup

from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.csrf import csrf_token
from airflow_incoming.web.views.notices import NOTICES


def context_of_pages() -> dict[str, Any]:
    """Return the names that Page adds to each template's context.

    ``visitor`` is None on the page that says so. ``may(name)`` asks for a permission by its name.
    """
    return {
        "visitor": flask.g.get("incoming_visitor"),
        "may": _may,
        "csrf_field": _csrf_field,
        "csrf_token": csrf_token,  # instead of Flask-WTF's
        "notice": NOTICES.get(flask.request.args.get("notice", "")),
        "now": _now,
    }


def _may(permission: str) -> bool:
    known = flask.g.get("incoming_visitor")
    return known is not None and known.may(Permission[permission])


def _csrf_field() -> Markup:
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(csrf_token())


def _now() -> datetime:
    return datetime.now(timezone.utc)
