"""The editor of an integration: sections that open and close in one form, saved as a draft or live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.core.errors import Conflict, InvalidConfiguration, NotFound
from airflow_incoming.core.parameters import MAX_DEDUPLICATION_PARAMETERS
from airflow_incoming.web.responses import status_of
from airflow_incoming.web.views.editing import Editing
from airflow_incoming.web.views.editor_base import EDIT, LOOK, PUBLISH
from airflow_incoming.web.views.editor_form import (
    SECTIONS,
    Values,
    field_of,
    merge,
    read_form,
    section_of,
    values_of_configuration,
    values_of_form,
)
from airflow_incoming.web.views.editor_listening import ListeningViews
from airflow_incoming.web.views.editor_states import StateViews
from airflow_incoming.web.views.notices import of_published
from airflow_incoming.web.views.page import expose, is_fragment, needs, visitor


class EditorPages(ListeningViews, StateViews):
    """Shows and changes one integration."""

    @expose("/<name>", methods=("GET",))
    @needs(LOOK)
    def edit(self, name: str) -> ResponseReturnValue:
        """Show an integration as its newest version has it."""
        editing = self.editing(name)
        if editing.rights.edit and editing.listener is not None:
            editing.opened.add("data")
        return self._page(editing)

    @expose("/<name>/sections/<section>", methods=("POST",))
    @needs(LOOK, EDIT)
    def section(self, name: str, section: str) -> ResponseReturnValue:
        """Open, apply or cancel a section, or show it again after a choice; nothing is saved."""
        if section not in SECTIONS:
            flask.abort(404)
        form = flask.request.form
        editing = self.editing_form(name, opened=(section,))
        action = form.get("action", "refresh")
        if action == "open":
            editing.before = editing.values
        else:
            editing.before = values_of_form(form, "before.")
        if action == "cancel":
            editing.values = editing.values.with_section(section, editing.before)
        if action == "refresh":
            self._choose(editing, form)
        if action == "apply":
            editing.errors = {
                field: text for field, text in self._errors(editing).items() if section_of(field) == section
            }
        if action == "cancel" or (action == "apply" and not editing.errors):
            editing.opened.clear()
        return self.show(
            "editor/section.html",
            status=422 if action == "apply" and editing.errors else 200,
            editing=editing,
            section=section,
            focus=_focus(form, action, is_open=section in editing.opened),
        )

    @expose("/<name>/dags", methods=("GET",))
    @needs(LOOK, EDIT)
    def dags(self, name: str) -> ResponseReturnValue:
        """Find DAGs that the visitor may trigger, among those that they may look at."""
        text = flask.request.args.get("q", "").strip()[:250]
        found = self.services.readiness().search(text, allowed=_findable)
        chosen = flask.request.args.getlist("dag")
        return self.show("editor/dags.html", found=found, text=text, chosen=chosen, name=name)

    @expose("/<name>/save", methods=("POST",))
    @needs(LOOK, EDIT)
    def save(self, name: str) -> ResponseReturnValue:
        """Make the form's values the newest version, a draft."""
        return self._save(self.editing_form(name), publish=False)

    @expose("/<name>/save-and-publish", methods=("POST",))
    @needs(LOOK, EDIT, PUBLISH)
    def save_and_publish(self, name: str) -> ResponseReturnValue:
        """Make the form's values the newest version, and that version live."""
        return self._save(self.editing_form(name), publish=True)

    def _save(self, editing: Editing, *, publish: bool) -> ResponseReturnValue:
        configuration = read_form(editing.values)[0]
        errors = self._errors(editing)
        if configuration is None or errors:
            return self._page(editing, errors=errors)
        manager, by = self.services.manager(), visitor()
        saved = None
        if publish:
            manager.permit(editing.name, by=by)  # before anything is saved
        try:
            saved = manager.save(editing.name, configuration, by=by, expected=editing.expected)
            if publish:
                saved = manager.publish(editing.name, by=by, expected=saved.current.number)
        except InvalidConfiguration as error:
            # What was saved before publishing failed is what the form began with by now.
            editing = self._with_values(editing.name, editing.values)
            errors = {field_of(error.path): f"{error.problem}."}
            return self._page(editing, errors=errors, saved=saved is not None)
        except Conflict as conflict:
            return self._disputed(editing, conflict)
        changed = saved.current.number != editing.integration.current.number
        notice = of_published(saved) if publish else "saved" if changed else "unchanged"
        return self.redirect("EditorPages.edit", name=editing.name, notice=notice)

    def _disputed(self, editing: Editing, conflict: Conflict) -> ResponseReturnValue:
        """Show the form with what somebody else saved meanwhile, as far as it is about other sections."""
        newest = self.services.manager().show(editing.name)
        try:
            began = self.services.manager().version(editing.name, editing.expected)
        except NotFound:
            return self._page(self._with_values(editing.name, editing.values), conflict=conflict)
        merged = merge(
            base=values_of_configuration(began.configuration),
            mine=editing.values,
            theirs=values_of_configuration(newest.current.configuration),
        )
        editing = self.editing_of(newest, values=merged.values)
        return self._page(editing, conflict=conflict, merge=merged)

    def _page(
        self,
        editing: Editing,
        *,
        errors: Mapping[str, str] | None = None,
        conflict: Conflict | None = None,
        **more: object,
    ) -> ResponseReturnValue:
        editing.errors = dict(errors or {})
        editing.opened.update(map(section_of, editing.errors))
        status = status_of(InvalidConfiguration) if errors else status_of(Conflict) if conflict else 200
        template = "editor/editing.html" if is_fragment() else "editor/edit.html"
        return self.show(
            template, status=status, active="integrations", editing=editing, conflict=conflict, **more
        )

    def _errors(self, editing: Editing) -> dict[str, str]:
        """Return what is wrong with the form, by field."""
        errors = read_form(editing.values)[1]
        if editing.refused_targets:
            errors.setdefault("dag", " ".join(editing.refused_targets))
        if editing.icon_is_missing:
            errors.setdefault("icon", f"There is no icon “{editing.values.icon}”; choose one of these.")
        return errors

    def _choose(self, editing: Editing, form: Mapping[str, str]) -> None:
        """Add or remove what a button of the section says, and refuse the sixth parameter."""
        values = editing.values
        dags = [dag_id for dag_id in values.dag if dag_id != form.get("remove_dag")]
        if form.get("add_dag"):
            dags.append(form["add_dag"])
        chosen = list(values.parameter)
        if len(chosen) > MAX_DEDUPLICATION_PARAMETERS and values.deduplicate:
            before = flask.request.form.getlist("chosen")
            refused = next((name for name in chosen if name not in before), chosen[-1])
            chosen = [name for name in chosen if name != refused][:MAX_DEDUPLICATION_PARAMETERS]
            editing.refused = refused
            editing.errors["parameter"] = (
                f"“{refused}” would be the sixth. At most {MAX_DEDUPLICATION_PARAMETERS} parameters make a "
                "hash; take one away first."
            )
        editing.values = replace(values, dag=tuple(dict.fromkeys(dags)), parameter=tuple(chosen))

    def _with_values(self, name: str, values: Values) -> Editing:
        return self.editing_of(self.services.manager().show(name), values=values)


def _findable(dag_ids: Iterable[str]) -> set[str]:
    return visitor().triggerable(visitor().readable_dags(dag_ids))


def _focus(form: Mapping[str, str], action: str, *, is_open: bool) -> str | None:
    """Return where the keyboard goes on, after what was pressed is gone."""
    if not is_open:
        return "define"
    if action == "open":
        return "body"
    return "dag-query" if "add_dag" in form or "remove_dag" in form else None
