"""The *New integration* dialog: what was typed, what is wrong with it, and making what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from airflow_incoming.core.errors import Conflict, Forbidden, InvalidConfiguration, SecretsUnprotected
from airflow_incoming.core.integration import Auth, Configuration, parse_configuration, parse_name
from airflow_incoming.services.keys import KeyManager, NewApiKey
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.rights import Actor


@dataclass(frozen=True, kw_only=True, slots=True)
class NewIntegrationForm:
    """The fields as they were typed. ``key_source`` is ``existing`` or ``new``."""

    type: str = ""
    title: str = ""
    name: str = ""
    key_source: str = ""
    api_key: str = ""
    key_name: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> NewIntegrationForm:
        """Return the form out of what a browser posted."""

        def typed(name: str) -> str:
            return fields.get(name, "").strip()

        return cls(
            type=typed("type"),
            title=typed("title"),
            name=typed("name"),
            key_source=typed("key_source"),
            api_key=typed("api_key"),
            key_name=typed("key_name"),
        )

    def refused(self, **errors: str) -> NewIntegrationForm:
        """Return the same form with what is wrong with its fields."""
        return replace(self, errors=errors)

    @property
    def makes_key(self) -> bool:
        """Tell whether an API key is to be made along with it."""
        return self.type == "jwt" and self.key_source == "new"

    @property
    def wanted_key(self) -> str | None:
        """Return the name of the API key that JWTs are to be made from."""
        if self.type != "jwt":
            return None
        return self.key_name if self.makes_key else self.api_key


class Refused(Exception):
    """The form can't be carried out; ``form`` says why at each field."""

    def __init__(self, form: NewIntegrationForm) -> None:
        super().__init__(str(form.errors))
        self.form = form


def carry_out(form: NewIntegrationForm, manager: Manager, keys: KeyManager, *, by: Actor) -> NewApiKey | None:
    """Make the draft, and the API key where it asks for a new one. Raises Refused."""
    errors = _mistakes(form, keys)
    taken = {integration.name for integration in manager.list()}
    if "name" not in errors and form.name in taken:
        errors["name"] = f"There is an integration {form.name!r} already; choose another name."
    if errors:
        raise Refused(form.refused(**errors))
    manager.permit(form.name, by=by)  # before a key is made that nobody would see
    made = _make_key(form, keys, by=by) if form.makes_key else None
    try:
        manager.create(form.name, _configuration(form), by=by)
    except (Conflict, Forbidden, InvalidConfiguration) as error:
        if made is not None:  # nobody has seen it, and a revoked key's name can be used again
            keys.revoke(made.name, by=by)
        if isinstance(error, Forbidden):
            raise
        raise Refused(form.refused(name=error.detail)) from error
    return made


def _mistakes(form: NewIntegrationForm, keys: KeyManager) -> dict[str, str]:
    errors: dict[str, str] = {}
    if form.type not in ("none", "jwt"):
        errors["type"] = "Choose who may send to this integration."
    try:
        parse_configuration({"title": form.title})
    except InvalidConfiguration as error:
        errors["title"] = _sentence("The title", error.problem)
    if (problem := _name_problem(form.name)) is not None:
        errors["name"] = problem
    if form.type == "jwt":
        errors |= _key_mistakes(form, keys)
    return errors


def _key_mistakes(form: NewIntegrationForm, keys: KeyManager) -> dict[str, str]:
    if form.makes_key:
        problem = _name_problem(form.key_name)
        return {} if problem is None else {"key_name": problem}
    if form.key_source != "existing":
        return {"key_source": "Choose an API key, or make one."}
    if not form.api_key:
        return {"api_key": "Choose the API key that JWTs are made from."}
    if form.api_key not in keys.usable_names():
        return {"api_key": f"There is no usable API key {form.api_key!r} any more; choose another one."}
    return {}


def _name_problem(name: str) -> str | None:
    if not name:
        return "Type a name."
    try:
        parse_name(name)
    except ValueError as error:
        return _sentence("The name", str(error))
    return None


def _make_key(form: NewIntegrationForm, keys: KeyManager, *, by: Actor) -> NewApiKey:
    try:
        return keys.create(form.key_name, by=by)
    except (Conflict, SecretsUnprotected) as error:
        raise Refused(form.refused(key_name=error.detail)) from error


def _configuration(form: NewIntegrationForm) -> Configuration:
    if form.type == "none":
        return Configuration(title=form.title)
    return Configuration(title=form.title, auth=Auth(type="jwt", api_key=form.wanted_key))


def _sentence(subject: str, problem: str) -> str:
    return f"{subject} {problem}."
