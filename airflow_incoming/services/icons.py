"""The icons that administrators upload for their integrations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from airflow_incoming.core.errors import Conflict
from airflow_incoming.core.icons import Icon, read_icon
from airflow_incoming.db.engine import reading
from airflow_incoming.services.audit import changing
from airflow_incoming.services.rights import Actor
from airflow_incoming.stores import icons

#: Uploads are never thrown away, because old versions name them; so there is an end to them.
MAX_UPLOADS = 200


class Icons:
    """Takes uploads in, and gives them out."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def upload(self, data: bytes, *, by: Actor) -> str:
        """Keep a PNG or SVG and return its name for configurations; the same picture is kept once.

        Raises InvalidConfiguration, which says what is wrong with the file, and Conflict where there
        are too many icons already.
        """
        icon = read_icon(data)
        try:
            with changing(self._engine, by=by.name, now=self._clock()) as change:
                connection = change.connection
                if icons.find(connection, icon.name) is not None:
                    return icon.name
                if icons.count(connection) >= MAX_UPLOADS:
                    raise Conflict(f"There are {MAX_UPLOADS} uploaded icons already; choose one of them.")
                icons.add(connection, icon, now=self._clock(), by=by.name)
                change.did("upload_icon", icon=icon.name, content_type=icon.content_type)
        except IntegrityError:
            return icon.name  # somebody uploaded the same picture at the same moment
        return icon.name

    def find(self, name: str) -> Icon | None:
        """Return an uploaded icon, None where there is none of this name."""
        with reading(self._engine) as connection:
            return icons.find(connection, name)

    def uploaded(self) -> list[str]:
        """Return the names of the uploaded icons, newest first."""
        with reading(self._engine) as connection:
            return icons.names(connection)
