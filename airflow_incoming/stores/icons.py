"""Uploaded icons in the metadata database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from airflow_incoming.core.icons import Icon
from airflow_incoming.db import tables

_icon = tables.icon


def find(connection: Connection, name: str) -> Icon | None:
    """Return the icon of this name."""
    row = connection.execute(
        select(_icon.c.content_type, _icon.c.content).where(_icon.c.id == name)
    ).one_or_none()
    return None if row is None else Icon(name=name, content_type=row.content_type, content=row.content)


def names(connection: Connection) -> list[str]:
    """Return the names of all icons, newest first."""
    return list(connection.scalars(select(_icon.c.id).order_by(_icon.c.created_at.desc(), _icon.c.id)))


def count(connection: Connection) -> int:
    """Return how many icons there are."""
    return connection.scalar(select(func.count()).select_from(_icon)) or 0


def add(connection: Connection, icon: Icon, *, now: datetime, by: str) -> None:
    """Keep an icon. Its name is a digest of its content, so it never changes."""
    connection.execute(
        insert(_icon).values(
            id=icon.name, content_type=icon.content_type, content=icon.content, created_at=now, created_by=by
        )
    )
