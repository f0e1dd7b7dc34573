"""Whose page it was that was posted: somebody else's, or one from before a release that says so."""

from __future__ import annotations

from typing import Any, cast

import flask
import pytest

from airflow_incoming.web.access import Visitor
from airflow_incoming.web.views import csrf


class Anna:
    id = "anna"


@pytest.mark.parametrize(
    ("session", "of_nobody", "of_another"),
    [
        ({"csrf_token": "from before"}, True, False),
        ({"csrf_token": "t", "user": "anna"}, False, False),
        ({"csrf_token": "t", "user": "ben"}, False, True),
    ],
)
def test_whose_page_it_was(session: dict[str, str], of_nobody: bool, of_another: bool) -> None:
    """Nobody is told of another user where there is none."""
    app = flask.Flask("pages")
    app.secret_key = "of the tests"
    anna: Any = Anna()
    with app.test_request_context():
        flask.session.update(session)
        found = (csrf.is_of_nobody(), csrf.is_of_another(cast(Visitor, anna)))
    assert found == (of_nobody, of_another)
