"""The icons of integrations: those that come with us, and those that were uploaded."""

from __future__ import annotations

from functools import cache

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.core.errors import Conflict, InvalidConfiguration
from airflow_incoming.core.icons import MAX_ICON
from airflow_incoming.core.integration import NAME
from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.page import HERE, ROOT, Page, expose, needs, visitor

DEFAULT_ICON = "webhook"

#: An icon is a picture and nothing else, even when it is opened by itself. Nobody has looked into it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_FOLDER = HERE / "icon_files"
_DAY = 86400
_YEAR = 365 * _DAY


@cache
def builtin_icons() -> tuple[str, ...]:
    """Return the names of the icons that come with us; the default is the first."""
    names = sorted(file.stem for file in _FOLDER.glob("*.svg"))
    return (DEFAULT_ICON, *(name for name in names if name != DEFAULT_ICON))


class IconFiles(Page):
    """Gives icons out, and takes uploads in."""

    route_base = f"{ROOT}/icons"

    @expose("/<name>", methods=("GET",))
    @needs()
    def show(self, name: str) -> ResponseReturnValue:  # type: ignore[override]  # pictures are no templates
        """Answer with an icon; with the default one where nobody knows the name."""
        if not any(map(visitor().may, (Permission.READ_INTEGRATIONS, Permission.READ_EVENTS))):
            flask.abort(403, "Icons are for those who may read integrations or events.")
        if name in builtin_icons():
            return _picture(_read(name), "image/svg+xml", _DAY)
        found = self.services.icons().find(name) if NAME.fullmatch(name) else None
        if found is None:
            return _picture(_read(DEFAULT_ICON), "image/svg+xml", 0)
        return _picture(found.content, found.content_type, _YEAR)

    @expose("/", methods=("POST",))
    @needs(Permission.READ_INTEGRATIONS, Permission.EDIT_INTEGRATIONS)
    def upload(self) -> ResponseReturnValue:
        """Keep an uploaded file, and answer with the picker that has it chosen."""
        file = flask.request.files.get("file")
        data = b"" if file is None else file.stream.read(MAX_ICON + 1)
        icons = self.services.icons()
        try:
            chosen, error = icons.upload(data, by=visitor()), None
        except (InvalidConfiguration, Conflict) as refused:
            chosen = flask.request.form.get("icon", DEFAULT_ICON)
            error = refused.problem if isinstance(refused, InvalidConfiguration) else refused.detail
            error = f"{error[0].upper()}{error[1:].removesuffix('.')}."
        picker = flask.render_template(
            "incoming/editor/icons.html",
            builtin=builtin_icons(),
            uploaded=icons.uploaded(),
            chosen=chosen,
            icon_error=error,
        )
        return picker, 200 if error is None else 422


@cache
def _read(name: str) -> bytes:
    return (_FOLDER / f"{name}.svg").read_bytes()


def _picture(content: bytes, content_type: str, seconds: int) -> flask.Response:
    response = flask.Response(content, content_type=content_type)
    response.headers["Content-Security-Policy"] = _POLICY
    kept = f"private, max-age={seconds}, immutable" if seconds else "no-store"
    response.headers["Cache-Control"] = kept
    return response
