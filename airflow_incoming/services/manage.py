"""What an administrator does with integrations, behind the commands and the pages alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from airflow_incoming.core.errors import Conflict, InvalidConfiguration
from airflow_incoming.core.integration import Configuration, Declaration, State, parse_name
from airflow_incoming.core.records import Integration, Version
from airflow_incoming.db.engine import reading
from airflow_incoming.services import stakes
from airflow_incoming.services.audit import Changing, changing
from airflow_incoming.services.checks import Bounds, check_configuration
from airflow_incoming.services.discarding import are_many, discard_many, discard_rest
from airflow_incoming.services.expected import existing, expect_newest
from airflow_incoming.services.inspection import Inspector
from airflow_incoming.services.rights import Actor, consider
from airflow_incoming.stores import integrations, listening, queue, requests, silence

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


class Manager(Inspector):
    """Looks at, creates, edits and publishes integrations. ``by`` is who does it.

    Every verb raises Forbidden where they may not start all that it may start or stop.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime], bounds: Bounds) -> None:
        super().__init__(engine)
        self._clock = clock
        self._bounds = bounds

    def permit(self, name: str, *, by: Actor) -> None:
        """Raise Forbidden where somebody may not publish, suspend, resume or delete an integration.

        Nor make one under this name, where there is none.
        """
        self._ask(by, stakes.of_integration, name)
        with reading(self._engine) as connection:
            stakes.permit(connection, by, stakes.of_integration, name)

    def apply(self, declarations: Sequence[Declaration], *, by: Actor, dry_run: bool = False) -> Changes:
        """Make integrations as declared: all of them or, on an error, none.

        Integrations that aren't declared stay as they are; endpoint ids are kept. With ``dry_run``
        nothing is kept. Raises InvalidConfiguration whose path begins with ("integrations", index).
        """
        for declared in declarations:
            self._ask(by, stakes.of_integration, declared.name, declared.configuration)
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

    def create(self, name: str, configuration: Configuration, *, by: Actor) -> Integration:
        """Make a draft. Raises Conflict where the name is taken, and InvalidConfiguration."""
        try:
            parse_name(name)
        except ValueError as error:
            raise InvalidConfiguration(("name",), str(error)) from error
        taken = f"There is an integration {name!r} already; choose another name."
        self._ask(by, stakes.of_draft, name, configuration)
        with self._changing(by, taken=taken) as change:
            stakes.permit(change.connection, by, stakes.of_draft, name, configuration)
            check_configuration(change.connection, configuration, "draft", self._bounds)
            change.did("create_integration", integration=name)
            return integrations.create(change.connection, name, configuration, now=self._clock(), by=by.name)

    def save(self, name: str, configuration: Configuration, *, by: Actor, expected: int) -> Integration:
        """Make a configuration the newest version, a draft; what is published stays as it is.

        Nothing happens where the newest version has the same configuration. Raises NotFound,
        InvalidConfiguration, and Conflict where the newest version isn't number ``expected``.
        """
        with self._permitted(by, stakes.of_draft, name, configuration) as (change, found):
            if found.current.configuration != configuration:
                expect_newest(found, expected)
                self._add_version(change, found, configuration, by)
            return existing(change.connection, name)

    def roll_back(self, name: str, number: int, *, by: Actor) -> Integration:
        """Make an old version's configuration the newest version, a draft.

        Nothing happens where the newest version has the same configuration. Raises NotFound,
        InvalidConfiguration where it isn't possible any more.
        """
        old = self.version(name, number).configuration  # which never changes
        with self._permitted(by, stakes.of_draft, name, old) as (change, found):
            if found.current.configuration != old:
                self._add_version(change, found, old, by, rolled_back_to=number)
        return self.show(name)

    def publish(self, name: str, *, by: Actor, expected: int | None = None) -> Integration:
        """Make the newest version live. What is suspended stays suspended.

        Raises NotFound, InvalidConfiguration, and Conflict where the newest version isn't number
        ``expected``.
        """
        self._ask(by, stakes.of_integration, name)
        with self._changing(by) as change:
            found = existing(change.connection, name)
            at_stake = stakes.permit(change.connection, by, stakes.of_integration, name)
            if expected is not None:
                expect_newest(found, expected)
            state: State = "suspended" if found.state == "suspended" else "published"
            check_configuration(change.connection, found.current.configuration, state, self._bounds)
            self._put(change.connection, found, state, found.current)
            stakes.bind(change.connection, by, found, found.current, at_stake)
            change.did("publish_integration", integration=name, version=found.current.number)
        return self.show(name)

    def unpublish(self, name: str, *, by: Actor) -> Integration:
        """Take the integration offline: its endpoint answers 404. Raises NotFound."""
        with self._permitted(by, stakes.of_integration, name) as (change, found):
            self._put(change.connection, found, "draft", found.current)
            change.did("unpublish_integration", integration=name)
        return self.show(name)

    def suspend(self, name: str, *, by: Actor) -> Integration:
        """Accept and hold events, start nothing. Raises NotFound, Conflict where it isn't published."""
        with self._permitted(by, stakes.of_integration, name) as (change, found):
            if found.published is None:
                raise Conflict(f"{name!r} is a draft; only a published integration can be suspended.")
            self._put(change.connection, found, "suspended", found.published)
            change.did("suspend_integration", integration=name)
        return self.show(name)

    def resume(self, name: str, *, by: Actor) -> Integration:
        """Start what was held, and go on. Raises NotFound, Conflict where it isn't suspended."""
        with self._permitted(by, stakes.of_integration, name) as (change, found):
            if found.state != "suspended" or found.published is None:
                raise Conflict(f"{name!r} isn't suspended.")
            self._put(change.connection, found, "published", found.published)
            change.did("resume_integration", integration=name)
        return self.show(name)

    def delete(self, name: str, *, by: Actor, discard_pending: bool = False) -> int:
        """Delete an integration; return how many pending events were discarded. Raises NotFound.

        Events that were accepted and didn't run yet still run, unless they are discarded. Where many
        are, and something fails meanwhile, a suspended draft is left: nothing of it runs, and it can be
        deleted again.
        """
        reason = f"Discarded when {name} was deleted by {by.name}."
        discarded = 0
        if discard_pending and are_many(self._engine, self.show(name)):
            found = self._withdraw(name, by=by)
            discarded = discard_many(self._engine, found, reason, self._clock())
        with self._permitted(by, stakes.of_integration, name) as (change, found):
            connection, now = change.connection, self._clock()
            if discard_pending:
                discarded += discard_rest(connection, found, reason, now)
            integrations.remove(connection, found.id)
            for store in (listening, requests, silence):
                store.forget_integration(connection, found.id)
            queue.release_held(connection, found.id, name, now, limit=RELEASED_AT_ONCE)
            change.did("delete_integration", integration=name, discarded_events=discarded)
        return discarded

    def _withdraw(self, name: str, *, by: Actor) -> Integration:
        """Take an integration offline, and hold what it accepted."""
        with self._permitted(by, stakes.of_integration, name) as (change, found):
            integrations.set_published(change.connection, found.id, None, suspended=True, now=self._clock())
            change.did("unpublish_integration", integration=name)
        return found

    def _add_version(
        self, change: Changing, found: Integration, configuration: Configuration, by: Actor, **about: int
    ) -> None:
        check_configuration(change.connection, configuration, "draft", self._bounds)
        integrations.save_version(change.connection, found, configuration, now=self._clock(), by=by.name)
        change.did("save_integration", integration=found.name, version=found.current.number + 1, **about)

    def _apply(
        self, change: Changing, declared: Declaration, path: tuple[str | int, ...], by: Actor
    ) -> Change:
        connection, now, new = change.connection, self._clock(), declared.configuration
        found = integrations.find(connection, declared.name, lock=True)
        at_stake = stakes.permit(connection, by, stakes.of_integration, declared.name, new)
        check_configuration(connection, new, declared.state, self._bounds, path)
        if found is None:
            found = integrations.create(connection, declared.name, new, now=now, by=by.name)
            action: Action = "created"
        elif found.current.configuration != new:
            integrations.save_version(connection, found, new, now=now, by=by.name)
            action = "updated"
        elif found.state == declared.state and not found.has_unpublished_changes:
            if found.published is not None:  # as it is, but its DAGs may have other teams by now
                stakes.bind(connection, by, found, found.published, at_stake)
            return Change(action="unchanged", integration=found)
        else:
            action = "updated"
        found = existing(connection, declared.name)
        self._put(connection, found, declared.state, found.current)
        stakes.bind(connection, by, found, found.current, at_stake)
        about = {"version": found.current.number, "state": declared.state, "action": action}
        change.did("apply_integration", integration=found.name, **about)
        return Change(action=action, integration=existing(connection, declared.name))

    def _put(self, connection: Connection, integration: Integration, state: State, version: Version) -> None:
        now = self._clock()
        # Unpublishing isn't resuming: what a suspended integration holds stays held.
        suspended = state == "suspended" or (state == "draft" and integration.suspended)
        live = None if state == "draft" else version.id
        integrations.set_published(connection, integration.id, live, suspended=suspended, now=now)
        if not suspended:
            queue.release_held(connection, integration.id, integration.name, now, limit=RELEASED_AT_ONCE)

    def _ask(self, by: Actor, find: stakes.Finds, name: str, *new: Configuration) -> None:
        """Ask before anything is locked, what is decided in the transaction."""
        if not by.is_trusted:
            with reading(self._engine) as connection:
                found = find(connection, name, *new)
            consider(by, found)

    @contextmanager
    def _permitted(
        self, by: Actor, find: stakes.Finds, name: str, *new: Configuration
    ) -> Iterator[tuple[Changing, Integration]]:
        """Run the block in a transaction for somebody who may start all that is at stake in it."""
        self._ask(by, find, name, *new)
        with self._changing(by) as change:
            found = existing(change.connection, name)
            stakes.permit(change.connection, by, find, name, *new)
            yield change, found

    @contextmanager
    def _changing(self, by: Actor, *, taken: str | None = None) -> Iterator[Changing]:
        """Run the block in a transaction that every receiver notices; ``taken`` explains a conflict."""
        try:
            with changing(self._engine, by=by.name, now=self._clock()) as change:
                yield change
                integrations.bump(change.connection)
        except IntegrityError as error:
            problem = taken or "Somebody else changed the same integration just now; try again."
            raise Conflict(problem) from error


class _DryRun(Exception):
    """Rolls the transaction back and carries what it would have done."""

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
