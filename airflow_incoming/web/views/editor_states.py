"""What becomes of an integration: published, suspended, deleted; and its versions."""

from __future__ import annotations

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.core.differences import differences
from airflow_incoming.core.errors import InvalidConfiguration, NotFound
from airflow_incoming.core.records import Version
from airflow_incoming.web.views.editor_base import EDIT, LOOK, PUBLISH, EditorBase
from airflow_incoming.web.views.notices import of_published
from airflow_incoming.web.views.page import expose, needs, visitor


class StateViews(EditorBase):
    """Changes that take effect at once, and the history."""

    @expose("/<name>/publish", methods=("POST",))
    @needs(LOOK, PUBLISH)
    def publish(self, name: str) -> ResponseReturnValue:
        """Make the newest version live, if it is the one that the visitor saw."""
        expected = flask.request.form.get("expected", type=int)
        published = self.services.manager().publish(name, by=visitor(), expected=expected)
        return self.redirect("EditorPages.edit", name=name, notice=of_published(published))

    @expose("/<name>/unpublish", methods=("POST",))
    @needs(LOOK, PUBLISH)
    def unpublish(self, name: str) -> ResponseReturnValue:
        """Take the endpoint offline."""
        self.services.manager().unpublish(name, by=visitor())
        return self.redirect("EditorPages.edit", name=name, notice="unpublished")

    @expose("/<name>/suspend", methods=("POST",))
    @needs(LOOK, PUBLISH)
    def suspend(self, name: str) -> ResponseReturnValue:
        """Accept and hold events."""
        self.services.manager().suspend(name, by=visitor())
        return self.redirect("EditorPages.edit", name=name, notice="suspended")

    @expose("/<name>/resume", methods=("POST",))
    @needs(LOOK, PUBLISH)
    def resume(self, name: str) -> ResponseReturnValue:
        """Start what was held."""
        self.services.manager().resume(name, by=visitor())
        return self.redirect("EditorPages.edit", name=name, notice="resumed")

    @expose("/<name>/confirm/<what>", methods=("GET",))
    @needs(LOOK, PUBLISH)
    def confirm(self, name: str, what: str) -> ResponseReturnValue:
        """Say what resuming or deleting would do to the events that still wait: a dialog's content."""
        if what not in ("delete", "resume", "unpublish"):
            flask.abort(404)
        counts = self.services.manager().pending(name)
        return self.show("editor/confirm.html", name=name, what=what, pending=counts)

    @expose("/<name>/delete", methods=("POST",))
    @needs(LOOK, PUBLISH)
    def delete(self, name: str) -> ResponseReturnValue:
        """Delete an integration whose name was typed; discard what waits where that was chosen."""
        if flask.request.form.get("confirm", "").strip() != name:
            raise InvalidConfiguration(("confirm",), f"type {name} to delete it; nothing was deleted")
        discard = bool(flask.request.form.get("discard"))
        self.services.manager().delete(name, by=visitor(), discard_pending=discard)
        return self.redirect("IntegrationPages.list", notice="deleted")

    @expose("/<name>/versions", methods=("GET",))
    @needs(LOOK)
    def versions(self, name: str) -> ResponseReturnValue:
        """Show the versions, and what changed between two of them."""
        editing = self.editing(name)
        found = editing.integration
        versions = self.services.manager().versions(name)
        new = self._chosen(name, "new") or found.current
        live = found.published if found.has_unpublished_changes else None
        old = self._chosen(name, "old") or live or _before(versions, new) or new
        return self.show(
            "editor/versions.html",
            active="integrations",
            editing=editing,
            versions=versions,
            old=old,
            new=new,
            differences=differences(old.configuration, new.configuration),
        )

    @expose("/<name>/versions/<int:number>/roll-back", methods=("POST",))
    @needs(LOOK, EDIT)
    def roll_back(self, name: str, number: int) -> ResponseReturnValue:
        """Make an old version the draft."""
        manager = self.services.manager()
        before = manager.show(name)
        after = manager.roll_back(name, number, by=visitor())
        notice = "unchanged" if after.current.number == before.current.number else "rolled-back"
        return self.redirect("EditorPages.edit", name=name, notice=notice)

    def _chosen(self, name: str, argument: str) -> Version | None:
        number = flask.request.args.get(argument, type=int)
        if number is None:
            return None
        try:
            return self.services.manager().version(name, number)
        except NotFound:
            return None


def _before(versions: list[Version], version: Version) -> Version | None:
    return next((each for each in versions if each.number < version.number), None)
