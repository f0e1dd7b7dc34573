"""API keys: who has one, and making, rotating and revoking them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.core.errors import Conflict, NotFound, SecretsUnprotected
from airflow_incoming.core.records import ApiKey, Integration
from airflow_incoming.services.keys import NewApiKey
from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.new_key import DEFAULT_OVERLAP, LIFETIMES, OVERLAPS, NewKeyForm, overlap_of
from airflow_incoming.web.views.page import ROOT, Page, expose, is_fragment, needs, visitor


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRow:
    """One key in the list. ``stops`` are the live integrations that nobody could send to without it."""

    key: ApiKey
    state: str
    overlap_until: datetime | None
    users: tuple[Integration, ...]
    stops: tuple[Integration, ...]


Rows = list[KeyRow]


class KeyPages(Page):
    """The keys that JWTs are made from. None is ever shown again after it was made."""

    route_base = f"{ROOT}/keys"

    @expose("/", methods=("GET",))
    @needs(Permission.READ_KEYS)
    def list(self) -> ResponseReturnValue:
        """Show all keys: the usable ones first."""
        rows = self._rows(self.services.keys().list())
        rows.sort(key=lambda row: (row.state != "active", row.key.name))
        return self.show(
            "keys/list.html", active="keys", rows=rows, form=NewKeyForm(), lifetimes=_choices(LIFETIMES)
        )

    @expose("/new", methods=("GET",))
    @needs(Permission.EDIT_KEYS)
    def new(self) -> ResponseReturnValue:
        """Return the empty form: for the dialog of another page."""
        return self._form(NewKeyForm(in_place=flask.request.args.get("in_place") == "1"))

    @expose("/new", methods=("POST",))
    @needs(Permission.EDIT_KEYS)
    def create(self) -> ResponseReturnValue:
        """Make a key and show it, this once: in the answer itself, under an address that says nothing."""
        form = NewKeyForm.read(flask.request.form)
        now = datetime.now(timezone.utc)
        if errors := form.mistakes(now):
            return self._form(form.refused(**errors), status=422)
        try:
            made = self.services.keys().create(form.name, by=visitor(), expires_in=form.lifetime(now))
        except (Conflict, SecretsUnprotected) as error:
            return self._form(form.refused(name=error.detail), status=422)
        return self._show_once(made, in_place=form.in_place)

    @expose("/<name>/rotate", methods=("GET",))
    @needs(Permission.EDIT_KEYS)
    def ask_rotate(self, name: str) -> ResponseReturnValue:
        """Return the dialog that asks how long the previous secret works on."""
        if not is_fragment():
            return self.redirect("KeyPages.list")
        self.services.keys().permit(name, by=visitor())
        return self.show(
            "keys/rotate.html", row=self._row(name), overlaps=_choices(OVERLAPS), chosen=DEFAULT_OVERLAP
        )

    @expose("/<name>/rotate", methods=("POST",))
    @needs(Permission.EDIT_KEYS)
    def rotate(self, name: str) -> ResponseReturnValue:
        """Give a key a new secret and show it, this once."""
        overlap = overlap_of(flask.request.form.get("overlap", DEFAULT_OVERLAP))
        made = self.services.keys().rotate(name, by=visitor(), overlap=overlap)
        return self._show_once(made, in_place=False)

    @expose("/<name>/revoke", methods=("GET",))
    @needs(Permission.EDIT_KEYS)
    def ask_revoke(self, name: str) -> ResponseReturnValue:
        """Return the dialog that names what stops working."""
        if not is_fragment():
            return self.redirect("KeyPages.list")
        self.services.keys().permit(name, by=visitor())
        return self.show("keys/revoke.html", row=self._row(name), error=None)

    @expose("/<name>/revoke", methods=("POST",))
    @needs(Permission.EDIT_KEYS)
    def revoke(self, name: str) -> ResponseReturnValue:
        """Close a key for good; where it is used, only when its name was typed."""
        row = self._row(name)
        if row.users and flask.request.form.get("confirm", "").strip() != name:
            error = f"Type {name} to revoke it."
            return self.show("keys/revoke.html", status=422, row=row, error=error)
        self.services.keys().revoke(name, by=visitor())
        return self.redirect("KeyPages.list", notice="key-revoked")

    def _form(self, form: NewKeyForm, *, status: int = 200) -> ResponseReturnValue:
        return self.show("keys/new.html", status=status, form=form, lifetimes=_choices(LIFETIMES))

    def _show_once(self, made: NewApiKey, *, in_place: bool) -> ResponseReturnValue:
        return self.show(
            "keys/made.html",
            made=made,
            in_place=in_place,
            usable=self.services.keys().usable_names() if in_place else [],
            base_url=self.services.base_url(),
        )

    def _row(self, name: str) -> KeyRow:
        for key in self.services.keys().list():
            if key.name == name:
                return self._rows([key])[0]
        raise NotFound("API key", name, "It may have been replaced meanwhile; look at the list.")

    def _rows(self, keys: Iterable[ApiKey]) -> Rows:
        now = datetime.now(timezone.utc)
        integrations = self.services.manager().list()
        return [
            KeyRow(
                key=key,
                state=key.state(now),
                overlap_until=_if_later(key.overlap_until, now),
                users=tuple(each for each in integrations if _names(each, key.name)),
                stops=tuple(each for each in integrations if _runs_on(each, key.name)),
            )
            for key in keys
        ]


def _choices(table: Iterable[tuple[str, str, object]]) -> list[tuple[str, str]]:
    return [(code, label) for code, label, _ in table]


def _if_later(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment is not None and moment > now else None


def _names(integration: Integration, key_name: str) -> bool:
    return integration.current.configuration.auth.api_key == key_name or _runs_on(integration, key_name)


def _runs_on(integration: Integration, key_name: str) -> bool:
    published = integration.published
    return published is not None and published.configuration.auth.api_key == key_name
