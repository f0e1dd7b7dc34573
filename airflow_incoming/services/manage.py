"""What an administrator does with integrations, behind the commands and the pages alike."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from airflow_incoming.core.errors import Conflict, InvalidConfiguration, NotFound
from airflow_incoming.core.integration import Configuration, Declaration, State
from airflow_incoming.core.records import Integration
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.stores import integrations, keys, queue

log = logging.getLogger(__name__)

Action = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Limits of the installation that no integration may exceed, in bytes."""

    max_body: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What applying one declaration did, or would do."""

    action: Action
    integration: Integration


Changes = list[Change]


class Manager:
    """Creates, edits and publishes integrations. ``by`` names who does it, for the versions."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime], bounds: Bounds) -> None:
        self._engine = engine
        self._clock = clock
        self._bounds = bounds

    def list(self, names: Iterable[str] | None = None) -> list[Integration]:
        """Return integrations by name. Raises NotFound for a name that isn't there."""
        wanted = None if names is None else list(names)
        with reading(self._engine) as connection:
            found = integrations.list_all(connection, wanted)
        for name in wanted or ():
            if name not in {integration.name for integration in found}:
                raise _no_integration(name)
        return found

    def show(self, name: str) -> Integration:
        """Return one integration. Raises NotFound."""
        return self.list([name])[0]

    def apply(self, declarations: Sequence[Declaration], *, by: str, dry_run: bool = False) -> Changes:
        """Make integrations as declared: all of them or, on an error, none.

        Integrations that aren't declared stay as they are; endpoint ids are kept. With ``dry_run``
        nothing is kept. Raises InvalidConfiguration whose path begins with ("integrations", index).
        """
        try:
            with self._changing() as connection:
                changes = [
                    self._apply(connection, declaration, ("integrations", i), by)
                    for i, declaration in enumerate(declarations)
                ]
                if dry_run:
                    raise _DryRun(changes)
        except _DryRun as dry:
            return dry.changes
        for change in changes:
            if change.action != "unchanged":
                log.info("%s applied integration %s: %s", by, change.integration.name, change.action)
        return changes

    def publish(self, name: str, *, by: str) -> Integration:
        """Make the newest version live. Raises NotFound, InvalidConfiguration."""
        return self._set_state(name, "published", by)

    def unpublish(self, name: str, *, by: str) -> Integration:
        """Take the integration offline: its endpoint answers 404. Raises NotFound."""
        return self._set_state(name, "draft", by)

    def suspend(self, name: str, *, by: str) -> Integration:
        """Accept and hold events, start nothing. Raises NotFound, Conflict where it isn't published."""
        with self._changing() as connection:
            found = _existing(connection, name)
            if found.published is None:
                raise Conflict(f"{name!r} is a draft; only a published integration can be suspended.")
            self._put(connection, found, "suspended", found.published.id)
        log.info("%s suspended integration %s", by, name)
        return self.show(name)

    def resume(self, name: str, *, by: str) -> Integration:
        """Start what was held, and go on. Raises NotFound, Conflict where it isn't suspended."""
        with self._changing() as connection:
            found = _existing(connection, name)
            if found.state != "suspended" or found.published is None:
                raise Conflict(f"{name!r} isn't suspended.")
            self._put(connection, found, "published", found.published.id)
        log.info("%s resumed integration %s", by, name)
        return self.show(name)

    def delete(self, name: str, *, by: str, discard_pending: bool = False) -> int:
        """Delete an integration; return how many pending events were discarded. Raises NotFound.

        Events that were accepted and didn't run yet still run, unless they are discarded.
        """
        with self._changing() as connection:
            found = _existing(connection, name)
            discarded = 0
            if discard_pending:
                discarded = queue.discard_pending(
                    connection, found.id, f"Discarded when {name} was deleted by {by}.", self._clock()
                )
            integrations.remove(connection, found.id)
            queue.release_held(connection, self._clock(), found.id)
        log.info("%s deleted integration %s", by, name)
        return discarded

    def _set_state(self, name: str, state: State, by: str) -> Integration:
        with self._changing() as connection:
            found = _existing(connection, name)
            if state != "draft":
                self._check(connection, found.current.configuration, state, ())
            self._put(connection, found, state, found.current.id)
        log.info("%s made integration %s %s", by, name, state)
        return self.show(name)

    def _apply(
        self, connection: Connection, declared: Declaration, path: tuple[str | int, ...], by: str
    ) -> Change:
        now = self._clock()
        self._check(connection, declared.configuration, declared.state, path)
        found = integrations.find(connection, declared.name, lock=True)
        if found is None:
            found = integrations.create(connection, declared.name, declared.configuration, now=now, by=by)
            action: Action = "created"
        elif found.current.configuration != declared.configuration:
            integrations.save_version(connection, found, declared.configuration, now=now, by=by)
            action = "updated"
        elif found.state == declared.state and not found.has_unpublished_changes:
            return Change(action="unchanged", integration=found)
        else:
            action = "updated"
        found = _existing(connection, declared.name)
        self._put(connection, found, declared.state, found.current.id)
        return Change(action=action, integration=_existing(connection, declared.name))

    def _put(self, connection: Connection, integration: Integration, state: State, version_id: UUID) -> None:
        now = self._clock()
        live = None if state == "draft" else version_id
        # Unpublishing isn't resuming: what a suspended integration holds stays held.
        suspended = state == "suspended" or (state == "draft" and integration.suspended)
        integrations.set_published(connection, integration.id, live, suspended=suspended, now=now)
        if not suspended:
            queue.release_held(connection, now, integration.id)

    def _check(
        self,
        connection: Connection,
        configuration: Configuration,
        state: State,
        path: tuple[str | int, ...],
    ) -> None:
        body = configuration.limits.body
        if body is not None and body > self._bounds.max_body:
            raise InvalidConfiguration(
                (*path, "limits", "body"),
                f"is larger than [incoming] max_body ({self._bounds.max_body} bytes); raise that first",
            )
        name = configuration.auth.api_key
        if name is None or state == "draft":
            return
        key = keys.find(connection, name)
        if key is None or key.revoked_at is not None:
            problem = "there is no API key" if key is None else "revoked is the API key"
            raise InvalidConfiguration(
                (*path, "auth", "api_key"),
                f"{problem} {name!r}; make one with: airflow incoming keys create {name}",
            )

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """Run the block in a transaction that every receiver notices."""
        try:
            with transaction(self._engine) as connection:
                yield connection
                integrations.bump(connection)
        except IntegrityError as error:
            raise Conflict("Somebody else changed the same integration just now; try again.") from error


class _DryRun(Exception):
    """Rolls the transaction back and carries what it would have done."""

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes


def _existing(connection: Connection, name: str) -> Integration:
    found = integrations.find(connection, name, lock=True)
    if found is None:
        raise _no_integration(name)
    return found


def _no_integration(name: str) -> NotFound:
    return NotFound("integration", name, "List them with: airflow incoming list")
