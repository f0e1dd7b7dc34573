"""What becomes of numbers on their way into the conf of a DAG run, as the README says."""

from __future__ import annotations

import math

from airflow.models.dagrun import DagRun
from sqlalchemy import Column, Engine, Integer, MetaData, Table, insert, select

from airflow_incoming.core.conf import conf_of
from airflow_incoming.core.integration import Configuration
from tests.contract.samples import make_event

BODY = (
    '{"long": 12345678901234567890123456789, "id": 9007199254740993, "digits": 0.12345678901234567890,'
    ' "price": 49.90, "whole": 1e16, "zero": -0.0, "one": 1.0}'
)


def test_integers_are_exact_and_other_numbers_doubles(engine: Engine) -> None:
    """Read from a column such as Airflow keeps a conf in; databases do something to numbers, too."""
    conf = conf_of(make_event(body=BODY), Configuration())
    numbers = {name: value for name, value in conf.items() if not name.startswith("_incoming")}
    assert {name: repr(value) for name, value in numbers.items()} == {
        "long": "12345678901234567890123456789",
        "id": "9007199254740993",
        "digits": "0.12345678901234568",
        "price": "49.9",
        "whole": "1e+16",
        "zero": "-0.0",
        "one": "1.0",
    }
    table = Table("numbers", MetaData(), Column("id", Integer, primary_key=True))
    table.append_column(Column("conf", DagRun.__table__.c.conf.type))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table).values(id=1, conf=numbers))
        kept = connection.scalar(select(table.c.conf))
        table.drop(connection)
    assert kept == numbers or engine.dialect.name == "mysql"
    assert (kept["id"], kept["digits"], kept["price"]) == (9007199254740993, 0.12345678901234568, 49.9)
    assert {name for name, value in kept.items() if type(value) is not type(numbers[name])} == {
        "sqlite": set(),
        "postgresql": {"whole"},
        "mysql": {"long"},
    }[engine.dialect.name]
    assert (math.copysign(1, kept["zero"]) > 0) == (engine.dialect.name == "postgresql")
