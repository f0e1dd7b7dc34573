"""*Retrieve data*: the endpoint listens, and the request that comes becomes the sample."""

from __future__ import annotations

from uuid import UUID

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.integration import Auth
from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.editing import Editing
from airflow_incoming.web.views.editor_base import EDIT, LOOK, EditorBase, refuse
from airflow_incoming.web.views.editor_form import field_of, read_form
from airflow_incoming.web.views.page import expose, needs, visitor

#: Seconds that an endpoint listens.
LISTEN = 90


class ListeningViews(EditorBase):
    """The section *Incoming data*. What it keeps is kept at once: a sample belongs to no version."""

    @expose("/<name>/listening", methods=("POST",))
    @needs(LOOK, EDIT)
    def listen(self, name: str) -> ResponseReturnValue:
        """Listen for a request, to whom the form says."""
        editing = self.editing_form(name, opened=("data",))
        configuration, errors = read_form(editing.values)
        wrong = next((errors[field] for field in ("auth_type", "api_key") if field in errors), None)
        if wrong is not None:
            raise InvalidConfiguration(("auth",), wrong)
        auth = configuration.auth if configuration is not None else _auth(editing)
        try:
            self.services.listening().start(name, auth=auth, by=visitor(), seconds=LISTEN)
        except InvalidConfiguration as error:
            problem = f"{error.problem}. Choose an API key in the section Endpoint first."
            raise InvalidConfiguration((field_of(error.path),), problem) from error
        return self._data(name)

    @expose("/<name>/listening", methods=("GET",))
    @needs(LOOK, EDIT)
    def look(self, name: str) -> ResponseReturnValue:
        """Show how many seconds are left; once something came, or nothing did, all of it."""
        editing = self._editable(name)
        if editing.listens:
            return self.show("editor/countdown.html", editing=editing)
        answer = flask.make_response(self._data(name))
        answer.headers["HX-Retarget"] = "#listening"
        return answer

    @expose("/<name>/listening/stop", methods=("POST",))
    @needs(LOOK, EDIT)
    def stop(self, name: str) -> ResponseReturnValue:
        """Stop listening, and forget what came."""
        self._editable(name)
        self.services.listening().stop(name, by=visitor())
        return self._data(name)

    @expose("/<name>/sample", methods=("POST",))
    @needs(LOOK, EDIT)
    def keep_sample(self, name: str) -> ResponseReturnValue:
        """Keep what came as the sample, and close the section."""
        self._editable(name)
        listener_id = _id("listener", "retrieve data once more")
        self.services.listening().keep_sample(name, listener_id, by=visitor())
        return self._closed(name)

    @expose("/<name>/sample/event", methods=("POST",))
    @needs(LOOK, EDIT, Permission.READ_EVENTS)
    def keep_event(self, name: str) -> ResponseReturnValue:
        """Keep an event as the sample: the one that was the newest when the visitor looked."""
        self._editable(name)
        event_id = _id("event", "reload the page and choose again")
        self.services.listening().set_sample(name, event_id, by=visitor())
        return self._closed(name)

    @expose("/<name>/sample/drop", methods=("POST",))
    @needs(LOOK, EDIT)
    def drop_sample(self, name: str) -> ResponseReturnValue:
        """Forget the sample."""
        self._editable(name)
        self.services.listening().drop_sample(name, by=visitor())
        return self._data(name)

    def _editable(self, name: str) -> Editing:
        editing = self.editing(name)
        if not editing.rights.edit:
            refuse(editing)
        return editing

    def _data(self, name: str) -> ResponseReturnValue:
        # What was pressed is gone. What nobody pressed, such as a request that came, takes no focus.
        focus = flask.request.method == "POST"
        return self.show("editor/listening.html", editing=self._editable(name), focus=focus)

    def _closed(self, name: str) -> ResponseReturnValue:
        editing = self._editable(name)
        return self.show("editor/section.html", editing=editing, section="data", focus="define")


def _id(field: str, remedy: str) -> UUID:
    try:
        return UUID(flask.request.form.get(field, ""))
    except ValueError as error:
        raise InvalidConfiguration((field,), f"must be an id; {remedy}") from error


def _auth(editing: Editing) -> Auth:
    """Return the form's authentication, where another field is wrong."""
    jwt = editing.values.auth_type == "jwt"
    return Auth(type="jwt", api_key=editing.values.api_key) if jwt else Auth()
