"""What an administrator does with integrations, behind the commands and the pages alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from airflow_incoming.core.differences import Difference, differences
from airflow_incoming.core.errors import Conflict, InvalidConfiguration
from airflow_incoming.core.integration import Configuration, Declaration, State, parse_name
from airflow_incoming.core.records import Integration, Stakes, Version
from airflow_incoming.db.engine import reading
from airflow_incoming.services.audit import Changing, changing
from airflow_incoming.services.checks import Bounds, check_configuration
from airflow_incoming.services.discarding import are_many, discard_many, discard_rest
from airflow_incoming.services.expected import (
    existing,
    existing_version,
    expect_newest,
    expect_stakes,
    no_integration,
    versions_at_stake,
)
from airflow_incoming.stores import integrations, listening, pending, queue, requests, silence
from airflow_incoming.stores.pending import Pending

#: How many versions are listed.
MAX_VERSIONS = 200
#: Held events that are due the moment an integration is resumed. Dispatchers release the others, some at
#: a time: one statement for all of them might take longer than a statement may.
RELEASED_AT_ONCE = 2000

Action = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What applying one declaration did, or would do."""

    action: Action
    integration: Integration


Changes = list[Change]
Versions = list[Version]


class Manager:
    """Creates, edits and publishes integrations. ``by`` names who does it.

    ``stakes`` are those that somebody checked they may change: where there are more by now, nothing
    happens, and a Conflict says so.
    """

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
                raise no_integration(name)
        return found

    def show(self, name: str) -> Integration:
        """Return one integration. Raises NotFound."""
        return self.list([name])[0]

    def versions(self, name: str) -> Versions:
        """Return the newest 200 versions of an integration, newest first. Raises NotFound."""
        integration_id = self.show(name).id
        with reading(self._engine) as connection:
            return integrations.versions(connection, integration_id, limit=MAX_VERSIONS)

    def version(self, name: str, number: int) -> Version:
        """Return one version of an integration. Raises NotFound, InvalidConfiguration."""
        found = self.show(name)
        with reading(self._engine) as connection:
            return existing_version(connection, found, number)

    def diff(self, name: str, old: int, new: int) -> tuple[Difference, ...]:
        """Return what changed between two versions. Raises NotFound, InvalidConfiguration."""
        before, after = self.version(name, old), self.version(name, new)
        return differences(before.configuration, after.configuration)

    def pending(self, name: str) -> Pending:
        """Count the events of an integration that are still to be dispatched. Raises NotFound."""
        found = self.show(name)
        with reading(self._engine) as connection:
            return pending.count(connection, found)

    def stakes(self, name: str) -> Stakes:
        """Return what publishing, suspending, resuming or deleting may start or stop. Raises NotFound."""
        found = self.show(name)
        with reading(self._engine) as connection:
            versions = versions_at_stake(connection, found)
            configurations = integrations.read_configurations(connection, versions)
        return Stakes(versions=versions, configurations=tuple(configurations.values()))

    def apply(self, declarations: Sequence[Declaration], *, by: str, dry_run: bool = False) -> Changes:
        """Make integrations as declared: all of them or, on an error, none.

        Integrations that aren't declared stay as they are; endpoint ids are kept. With ``dry_run``
        nothing is kept. Raises InvalidConfiguration whose path begins with ("integrations", index).
        """
        try:
            with self._changing(by) as change:
                changes = [
                    self._apply(change, declaration, ("integrations", i), by)
                    for i, declaration in enumerate(declarations)
                ]
                if dry_run:
                    raise _DryRun(changes)
        except _DryRun as dry:
            return dry.changes
        return changes

    def create(self, name: str, configuration: Configuration, *, by: str) -> Integration:
        """Make a draft. Raises Conflict where the name is taken, and InvalidConfiguration."""
        try:
            parse_name(name)
        except ValueError as error:
            raise InvalidConfiguration(("name",), str(error)) from error
        taken = f"There is an integration {name!r} already; choose another name."
        with self._changing(by, taken=taken) as change:
            check_configuration(change.connection, configuration, "draft", self._bounds)
            change.did("create_integration", integration=name)
            return integrations.create(change.connection, name, configuration, now=self._clock(), by=by)

    def save(self, name: str, configuration: Configuration, *, by: str, expected: int) -> Integration:
        """Make a configuration the newest version, a draft; what is published stays as it is.

        Nothing happens where the newest version has the same configuration. Raises NotFound,
        InvalidConfiguration, and Conflict where the newest version isn't number ``expected``.
        """
        with self._changing(by) as change:
            found = existing(change.connection, name)
            if found.current.configuration != configuration:
                expect_newest(found, expected)
                self._add_version(change, found, configuration, by)
            return existing(change.connection, name)

    def roll_back(self, name: str, number: int, *, by: str) -> Integration:
        """Make an old version's configuration the newest version, a draft.

        Nothing happens where the newest version has the same configuration. Raises NotFound,
        InvalidConfiguration where it isn't possible any more.
        """
        with self._changing(by) as change:
            found = existing(change.connection, name)
            old = existing_version(change.connection, found, number).configuration
            if found.current.configuration != old:
                self._add_version(change, found, old, by, rolled_back_to=number)
        return self.show(name)

    def publish(
        self, name: str, *, by: str, expected: int | None = None, stakes: Stakes | None = None
    ) -> Integration:
        """Make the newest version live. What is suspended stays suspended.

        Raises NotFound, InvalidConfiguration, and Conflict where the newest version isn't number
        ``expected``.
        """
        with self._changing(by) as change:
            found = existing(change.connection, name)
            if expected is not None:
                expect_newest(found, expected)
            expect_stakes(change.connection, found, stakes)
            state: State = "suspended" if found.state == "suspended" else "published"
            check_configuration(change.connection, found.current.configuration, state, self._bounds)
            self._put(change.connection, found, state, found.current.id)
            change.did("publish_integration", integration=name, version=found.current.number)
        return self.show(name)

    def unpublish(self, name: str, *, by: str, stakes: Stakes | None = None) -> Integration:
        """Take the integration offline: its endpoint answers 404. Raises NotFound."""
        with self._changing(by) as change:
            found = existing(change.connection, name)
            expect_stakes(change.connection, found, stakes)
            self._put(change.connection, found, "draft", found.current.id)
            change.did("unpublish_integration", integration=name)
        return self.show(name)

    def suspend(self, name: str, *, by: str, stakes: Stakes | None = None) -> Integration:
        """Accept and hold events, start nothing. Raises NotFound, Conflict where it isn't published."""
        with self._changing(by) as change:
            found = existing(change.connection, name)
            expect_stakes(change.connection, found, stakes)
            if found.published is None:
                raise Conflict(f"{name!r} is a draft; only a published integration can be suspended.")
            self._put(change.connection, found, "suspended", found.published.id)
            change.did("suspend_integration", integration=name)
        return self.show(name)

    def resume(self, name: str, *, by: str, stakes: Stakes | None = None) -> Integration:
        """Start what was held, and go on. Raises NotFound, Conflict where it isn't suspended."""
        with self._changing(by) as change:
            found = existing(change.connection, name)
            expect_stakes(change.connection, found, stakes)
            if found.state != "suspended" or found.published is None:
                raise Conflict(f"{name!r} isn't suspended.")
            self._put(change.connection, found, "published", found.published.id)
            change.did("resume_integration", integration=name)
        return self.show(name)

    def delete(
        self, name: str, *, by: str, discard_pending: bool = False, stakes: Stakes | None = None
    ) -> int:
        """Delete an integration; return how many pending events were discarded. Raises NotFound.

        Events that were accepted and didn't run yet still run, unless they are discarded. Where many
        are, and something fails meanwhile, a suspended draft is left: nothing of it runs, and it can be
        deleted again.
        """
        reason = f"Discarded when {name} was deleted by {by}."
        discarded = 0
        if discard_pending and are_many(self._engine, self.show(name)):
            found = self._withdraw(name, by=by, stakes=stakes)
            discarded = discard_many(self._engine, found, reason, self._clock())
        with self._changing(by) as change:
            connection, now = change.connection, self._clock()
            found = existing(connection, name)
            expect_stakes(connection, found, stakes)
            if discard_pending:
                discarded += discard_rest(connection, found, reason, now)
            integrations.remove(connection, found.id)
            for store in (listening, requests, silence):
                store.forget_integration(connection, found.id)
            queue.release_held(connection, name, now, limit=RELEASED_AT_ONCE)
            change.did("delete_integration", integration=name, discarded_events=discarded)
        return discarded

    def _withdraw(self, name: str, *, by: str, stakes: Stakes | None) -> Integration:
        """Take an integration offline, and hold what it accepted."""
        with self._changing(by) as change:
            found = existing(change.connection, name)
            expect_stakes(change.connection, found, stakes)
            integrations.set_published(change.connection, found.id, None, suspended=True, now=self._clock())
            change.did("unpublish_integration", integration=name)
        return found

    def _add_version(
        self, change: Changing, found: Integration, configuration: Configuration, by: str, **about: int
    ) -> None:
        check_configuration(change.connection, configuration, "draft", self._bounds)
        integrations.save_version(change.connection, found, configuration, now=self._clock(), by=by)
        change.did("save_integration", integration=found.name, version=found.current.number + 1, **about)

    def _apply(self, change: Changing, declared: Declaration, path: tuple[str | int, ...], by: str) -> Change:
        connection, now = change.connection, self._clock()
        check_configuration(connection, declared.configuration, declared.state, self._bounds, path)
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
        found = existing(connection, declared.name)
        self._put(connection, found, declared.state, found.current.id)
        about = {"version": found.current.number, "state": declared.state, "action": action}
        change.did("apply_integration", integration=found.name, **about)
        return Change(action=action, integration=existing(connection, declared.name))

    def _put(self, connection: Connection, integration: Integration, state: State, version_id: UUID) -> None:
        now = self._clock()
        live = None if state == "draft" else version_id
        # Unpublishing isn't resuming: what a suspended integration holds stays held.
        suspended = state == "suspended" or (state == "draft" and integration.suspended)
        integrations.set_published(connection, integration.id, live, suspended=suspended, now=now)
        if not suspended:
            queue.release_held(connection, integration.name, now, limit=RELEASED_AT_ONCE)

    @contextmanager
    def _changing(self, by: str, *, taken: str | None = None) -> Iterator[Changing]:
        """Run the block in a transaction that every receiver notices; ``taken`` explains a conflict."""
        try:
            with changing(self._engine, by=by, now=self._clock()) as change:
                yield change
                integrations.bump(change.connection)
        except IntegrityError as error:
            problem = taken or "Somebody else changed the same integration just now; try again."
            raise Conflict(problem) from error


class _DryRun(Exception):
    """Rolls the transaction back and carries what it would have done."""

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
