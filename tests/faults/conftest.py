"""One stage for each fault, and a line of the report when it is over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.faults.checker import Verdict
from tests.faults.nursery import Nursery
from tests.faults.stage import HEADER, Servers, Stage
from tests.house import Builder
from workbench.postgres import PostgresServer
from workbench.processes import Processes
from workbench.redis import RedisServer

#: Set to "all", every fault is played; else those that fit into every test run.
EVERYTHING = os.environ.get("INCOMING_FAULTS") == "all"

LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def servers(
    builder: Builder,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Servers]:
    with Processes() as processes:
        first = builder.build(processes, postgres=postgres_server, redis=redis_server)
        log = tmp_path_factory.mktemp("nursery") / "log"
        nursery = Nursery(first.airflow.env, log)
        yield Servers(
            builder=builder,
            processes=processes,
            nursery=nursery,
            postgres=postgres_server,
            redis=redis_server,
        )
        nursery.close()


@pytest.fixture
def stage(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Stage]:
    """A new installation; with the parameter "sqlite" on that, else on PostgreSQL."""
    stage = Stage(servers, sqlite=getattr(request, "param", None) == "sqlite")
    yield stage
    stage.close()


@pytest.fixture
def judged(request: pytest.FixtureRequest, stage: Stage) -> Callable[[str], Verdict]:
    """Let all be dispatched, judge, and report in a line of that name."""

    def judge(name: str) -> Verdict:
        stage.settle()
        verdict = stage.judge()
        lines = request.config.stash.setdefault(LINES, [HEADER])
        lines.append(f"{name:<58} {stage.line(verdict)}")
        if EVERYTHING:
            show(request.config, lines[-2:] if len(lines) == 2 else lines[-1:])
        return verdict

    return judge


def show(config: pytest.Config, lines: Sequence[str]) -> None:
    """Print lines at once, past what is captured of tests."""
    plugins = config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        reporter = plugins.getplugin("terminalreporter")
        reporter.ensure_newline()
        for line in lines:
            reporter.write_line(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print all lines together.

    Times are milliseconds; "health" is the p95 of Airflow's own; "none" is no answer.
    """
    if lines := config.stash.get(LINES, None):
        terminalreporter.section("the ledger")
        for line in lines:
            terminalreporter.write_line(line)
