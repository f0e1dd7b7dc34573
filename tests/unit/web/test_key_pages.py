"""The page of API keys where Airflow has no Fernet key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import flask
import pytest

from airflow_incoming.core.errors import SecretsUnprotected
from airflow_incoming.web.views.keys import KeyPages


class Unprotected:
    """What manages keys, in an installation that can't encrypt their secrets."""

    def create(self, name: str, **_: Any) -> None:
        raise SecretsUnprotected

    rotate = create


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    page = KeyPages.__new__(KeyPages)
    page.services = SimpleNamespace(keys=Unprotected)  # type: ignore[assignment]
    shown = lambda template, status=200, **context: (template, status, context)  # noqa: E731
    monkeypatch.setattr(page, "show", shown)
    return page


def test_a_new_key_is_refused_beside_the_field(page: Any) -> None:
    """With the sentence that says what to set; what was typed stays."""
    with flask.Flask("airflow").test_request_context("/new", method="POST", data={"name": "shop"}):
        flask.g.incoming_visitor = SimpleNamespace(name="ada")
        template, status, context = page.create()
    assert (template, status, context["form"].name) == ("keys/new.html", 422, "shop")
    assert "[core] fernet_key" in context["form"].errors["name"]


def test_a_rotation_is_refused_with_the_same_sentence(page: Any) -> None:
    """The page's own handler of errors shows it."""
    with flask.Flask("airflow").test_request_context("/shop/rotate", method="POST"):
        flask.g.incoming_visitor = SimpleNamespace(name="ada")
        with pytest.raises(SecretsUnprotected, match="fernet_key"):
            page.rotate("shop")
