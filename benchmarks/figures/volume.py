"""What a million events in the tables do to accepting, dispatching and looking at them."""

from __future__ import annotations

from statistics import median

from benchmarks.contenders import Contender
from benchmarks.figures.bench import Bench
from benchmarks.load import Kind
from workbench.steps import step

ROUNDS = 3
#: Dispatched events of the last weeks, 1 KB each, with their claims: every thousandth is dead.
_FILL = """
insert into incoming_event (id, integration_id, integration, version_id, state, received_at, attempts,
    body, headers, query, ended_at, dedup_hash, started)
select (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
        || lpad(to_hex(n), 15, '0'))::uuid, owner.id, owner.name, owner.id,
    case when n % 1000 = 0 then 'dead' else 'dispatched' end, moment, 1,
    '{{"order": {{"id": ' || n || ', "note": "' || repeat('x', 950) || '"}}}}', '{{}}', '', moment,
    encode(sha256(n::text::bytea), 'hex'), '[]'
from (select n, ms, to_timestamp(ms / 1000.0) as moment
    from (select n, (extract(epoch from now()) * 1000)::bigint - ({events} - n) * 1000 as ms
        from generate_series(1, {events}) as n) as numbered) as timed,
    (select id, name from incoming_integration where name = 'orders') as owner;
insert into incoming_dedup (hash, integration_id, event_id, first_seen_at, last_seen_at, expires_at)
select dedup_hash, integration_id, id, received_at, received_at, received_at + interval '7 days'
from incoming_event
"""
#: What was accepted meanwhile isn't what is drained.
_NOTHING_DUE = "update incoming_event set due_at = null where due_at is not null"


def crowded(bench: Bench) -> None:
    """Rates of accepting and draining, and milliseconds of pages, beside so many events and without."""
    events = 50_000 if bench.quick else 1_000_000
    empty, full = bench.contenders.get("serve"), bench.contenders.get("crowded")
    database = full.server.database.rpartition("/")[2]
    with step(f"Storing {events} events"):
        bench.ground.postgres.sql(_FILL.format(events=events), database)
        bench.ground.postgres.sql("vacuum analyze", database)
    bench.figures["crowded_events"] = events
    kinds: tuple[Kind, ...] = ("new", "known")
    for kind in kinds:
        with step(f"Accepting beside them: {kind}") as doing:
            rates = [_rates(bench, kind, empty, full) for _ in range(ROUNDS)]
            bench.figures[f"crowded_{kind}"] = median(rate for _, rate in rates)
            bench.figures[f"crowded_{kind}_ratio"] = median(rate / alone for alone, rate in rates)
            doing.note = f"{bench.figures[f'crowded_{kind}_ratio']:.2f} of the rate without"
    airflow = full.server.airflow
    assert airflow is not None
    with step("Draining beside them"):
        bench.ground.postgres.sql(
            "update incoming_event set due_at = null where due_at is not null", database
        )
        drained = bench.ground.run_inside(airflow, "drain", "orders", "2000")
        bench.figures["crowded_drain"] = drained["events"] / drained["seconds"]
    with step("Looking at them"):
        bench.figures.update(bench.ground.run_inside(airflow, "looking"))


def _rates(bench: Bench, kind: Kind, *contenders: Contender) -> list[float]:
    rates = []
    for contender in contenders:
        with contender.server.turn():
            bench.load(contender, kind, seconds=1)
            rates.append(bench.load(contender, kind, seconds=5).rate)
    return rates
