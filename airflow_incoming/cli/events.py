"""``events list|show|replay`` and ``dedup forget``."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from airflow_incoming import bootstrap
from airflow_incoming.cli.integrations import who
from airflow_incoming.cli.output import Result, command, confirm, note
from airflow_incoming.core.conf import conf_of
from airflow_incoming.core.errors import RedisUnavailable, RequestRejected
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import EventRecord
from airflow_incoming.core.units import parse_duration
from airflow_incoming.services.replay import event_of
from airflow_incoming.stores.events import Criteria

_HASH = re.compile(r"[0-9a-f]{64}")


@command
def list_(args: Namespace) -> Result:
    """List events."""
    criteria = Criteria(
        integration=args.integration,
        states=tuple(args.state or ()),
        since=_moment(args.since, "--since"),
        until=_moment(args.until, "--until"),
        dedup_hash=args.dedup_hash,
        before=None if args.before is None else _event_id(args.before),
        limit=_limit(args.limit),
    )
    return [_row(event) for event in bootstrap.event_desk().list(criteria)]


@command
def show(args: Namespace) -> Result:
    """Show one event."""
    desk = bootstrap.event_desk()
    event = desk.show(_event_id(args.event_id))
    configuration = desk.configuration_of(event)
    return _row(event) | {
        "attempts": event.attempts,
        "next_attempt_at": event.due_at,
        "ended_at": event.ended_at,
        "started": [asdict(started) for started in event.started],
        "dedup_hash": event.dedup_hash,
        "replay_of": event.replay_of,
        "remote": event.remote,
        "query": event.query,
        "headers": dict(event.headers or {}),
        "body": event.body,
        "conf": None if configuration is None else _conf(event, configuration),
    }


def _conf(event: EventRecord, configuration: Configuration) -> dict[str, Any] | None:
    """Return what the event's runs receive; None where this release can't read its body."""
    try:
        return conf_of(event_of(event), configuration)
    except RequestRejected:
        return None


@command
def replay(args: Namespace) -> Result:
    """Send events once more."""
    desk = bootstrap.event_desk()
    ids = [_event_id(text) for text in args.event_ids]
    if ids and (args.state or args.integration):
        raise ValueError("name event ids, or --state and --integration, not both")
    if not ids:
        if not args.state:  # or else what has run already would run again
            raise ValueError("name event ids, or choose events by --state (and --integration)")
        ids = _choose(args)
        if not ids:
            note("No event is in that state.")
            return []
        confirm(f"Replay {len(ids)} events?", yes=args.yes)
    return [
        {"event_id": done.event_id, "action": done.action, "new_id": done.new_id}
        for done in desk.replay(ids, by=who())
    ]


@command
def forget(args: Namespace) -> Result:
    """Forget a deduplication hash."""
    hash_ = args.hash.lower()
    if not _HASH.fullmatch(hash_):
        raise ValueError("a deduplication hash has 64 hexadecimal digits, as 'events show' prints them")
    try:
        known = bootstrap.event_desk().forget(hash_, by=who())
    except RedisUnavailable as error:
        problem = f"Redis can't be reached ({error}), so nothing was forgotten; try again."
        raise RedisUnavailable(problem) from error
    return [{"hash": hash_, "was_known": known}]


def _choose(args: Namespace) -> list[UUID]:
    limit = _limit(args.limit)
    criteria = Criteria(integration=args.integration, states=tuple(args.state), limit=limit)
    ids = [event.id for event in bootstrap.event_desk().list(criteria)]
    if len(ids) == limit:
        note(f"These are the newest {limit}; there may be more: repeat, or raise --limit.")
    return ids


def _row(event: EventRecord) -> dict[str, Any]:
    return {
        "event_id": str(event.id),
        "integration": event.integration,
        "state": event.state,
        "received_at": event.received_at,
        "run_ids": [started.run_id for started in event.started if started.run_id],
        "error": event.error,
    }


def _event_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ValueError(f"{text!r} isn't an event id") from error


def _limit(limit: int) -> int:
    if not 1 <= limit <= 10_000:
        raise ValueError("--limit: must be between 1 and 10000")
    return limit


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return bootstrap.utcnow() - parse_duration(text.strip().removesuffix(" ago"))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise ValueError(
            f"{option}: write a time such as 2026-03-01T12:00:00Z, or a duration such as 2h, not {text!r}"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
