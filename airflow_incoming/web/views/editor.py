"""The editor of an integration: sections that open and close in one form, saved as a draft or live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.core.errors import Conflict, InvalidConfiguration
from airflow_incoming.core.parameters import MAX_DEDUPLICATION_PARAMETERS
from airflow_incoming.web.responses import status_of
from airflow_incoming.web.views.editing import Editing
from airflow_incoming.web.views.editor_base import EDIT, LOOK, PUBLISH
from airflow_incoming.web.views.editor_form import (
    SECTIONS,
    Values,
    field_of,
    read_form,
    section_of,
    values_of_form,
)
from airflow_incoming.web.views.editor_listening import ListeningViews
from airflow_incoming.web.views.editor_states import StateViews
from airflow_incoming.web.views.notices import of_published
from airflow_incoming.web.views.page import expose, needs, visitor


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
            editing.errors = self._errors(editing, section)
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
        """Find DAGs that the visitor may trigger."""
        text = flask.request.args.get("q", "").strip()[:250]
        found = self.services.readiness().search(text, allowed=visitor().triggerable)
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
        configuration, errors = read_form(editing.values)
        if configuration is not None and editing.refused_targets:
            errors = {"dag": " ".join(editing.refused_targets)}
        if configuration is None or errors:
            return self._page(editing, errors=errors)
        manager, by = self.services.manager(), visitor().name
        if publish:
            self.checked_stakes(editing.name)  # before anything is saved
        try:
            saved = manager.save(editing.name, configuration, by=by, expected=editing.expected)
            if publish:
                stakes = self.checked_stakes(editing.name)
                saved = manager.publish(editing.name, by=by, expected=saved.current.number, stakes=stakes)
        except InvalidConfiguration as error:
            # What was saved before publishing failed is what the form began with by now.
            editing = self._with_values(editing.name, editing.values)
            return self._page(editing, errors={field_of(error.path): f"{error.problem}."})
        except Conflict as conflict:
            return self._page(editing, conflict=conflict)
        changed = saved.current.number != editing.integration.current.number
        notice = of_published(saved) if publish else "saved" if changed else "unchanged"
        return self.redirect("EditorPages.edit", name=editing.name, notice=notice)

    def _page(
        self,
        editing: Editing,
        *,
        errors: Mapping[str, str] | None = None,
        conflict: Conflict | None = None,
    ) -> ResponseReturnValue:
        editing.errors = dict(errors or {})
        editing.opened.update(map(section_of, editing.errors))
        status = status_of(InvalidConfiguration) if errors else status_of(Conflict) if conflict else 200
        return self.show(
            "editor/edit.html", status=status, active="integrations", editing=editing, conflict=conflict
        )

    def _errors(self, editing: Editing, section: str) -> dict[str, str]:
        errors = {
            field: text
            for field, text in read_form(editing.values)[1].items()
            if section_of(field) == section
        }
        if section == "workflow" and editing.refused_targets:
            errors.setdefault("dag", " ".join(editing.refused_targets))
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
            editing.errors["parameter"] = (
                f"“{refused}” would be the sixth. At most {MAX_DEDUPLICATION_PARAMETERS} parameters make a "
                "hash; take one away first."
            )
        editing.values = replace(values, dag=tuple(dict.fromkeys(dags)), parameter=tuple(chosen))

    def _with_values(self, name: str, values: Values) -> Editing:
        return self.editing_of(self.services.manager().show(name), values=values)


def _focus(form: Mapping[str, str], action: str, *, is_open: bool) -> str | None:
    """Return where the keyboard goes on, after what was pressed is gone."""
    if not is_open:
        return "define"
    if action == "open":
        return "body"
    return "dag-query" if "add_dag" in form or "remove_dag" in form else None
