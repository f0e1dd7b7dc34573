"""What becomes of numbers on their way into the conf of a DAG run, as the README says."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
from airflow.models.dagrun import DagRun
from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, select

from airflow_incoming.core.conf import conf_of
from airflow_incoming.core.integration import Configuration
from tests.contract.samples import make_event

BODY = (
    '{"long": 12345678901234567890123456789, "large": 6.02214076e23, "low": -1e19,'
    ' "most": 18446744073709551615, "id": 9007199254740993, "digits": 0.12345678901234567890,'
    ' "price": 49.90, "whole": 1e16, "zero": -0.0, "one": 1.0}'
)


EDGES = [
    *(number + step for number in (-(2**63), 2**63, 2**64) for step in (-1, 0, 1)),
    *(math.nextafter(number, to) for number in (-(2.0**63), 2.0**64) for to in (0.0, number, 2 * number)),
    *(1e15, 1e18, 1e19, 1e20, 1e22, 1e308, -1e18, -1e19, -1e308, 5e-324, 1.5e19, 123456789012345678901.5),
]


def test_whatever_a_database_gives_back_airflow_can_carry(engine: Engine) -> None:
    """Airflow's processes hand a conf on in MessagePack, which has integers of 64 bits."""
    conf = conf_of(make_event(body=json.dumps(EDGES)), Configuration())
    kept = _kept(engine, conf)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept)) == kept
    assert {name: float(value) for name, value in kept.items() if name.isdigit()} == {
        str(index): float(value) for index, value in enumerate(EDGES)
    }


def _kept(engine: Engine, conf: dict[str, Any]) -> dict[str, Any]:
    """Return what a column such as Airflow keeps a conf in makes of it."""
    table = Table("numbers", MetaData(), Column("id", Integer, primary_key=True))
    table.append_column(Column("conf", DagRun.__table__.c.conf.type))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table).values(id=1, conf=conf))
        kept: dict[str, Any] = connection.scalar(select(table.c.conf))
        table.drop(connection)
    return kept


def test_integers_are_exact_and_other_numbers_doubles(engine: Engine) -> None:
    """Read from a column such as Airflow keeps a conf in; databases do something to numbers, too."""
    conf = conf_of(make_event(body=BODY), Configuration())
    numbers = {name: value for name, value in conf.items() if not name.startswith("_incoming")}
    assert {name: repr(value) for name, value in numbers.items()} == {
        "long": "'12345678901234567890123456789'",
        "large": "'6.02214076e23'",
        "low": "'-1e19'",
        "most": "18446744073709551615",
        "id": "9007199254740993",
        "digits": "0.12345678901234568",
        "price": "49.9",
        "whole": "1e+16",
        "zero": "-0.0",
        "one": "1.0",
    }
    kept = _kept(engine, numbers)
    assert kept == numbers or engine.dialect.name == "mysql"
    assert (kept["id"], kept["digits"], kept["price"]) == (9007199254740993, 0.12345678901234568, 49.9)
    assert {name for name, value in kept.items() if type(value) is not type(numbers[name])} == {
        "sqlite": set(),
        "postgresql": {"whole"},
        "mysql": set(),
    }[engine.dialect.name]
    assert (math.copysign(1, kept["zero"]) > 0) == (engine.dialect.name == "postgresql")
