"""A real browser: the machine's chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.e2e.strangers import Siege
    from tests.house import Builder
    from workbench.postgres import PostgresServer
    from workbench.redis import RedisServer

#: Chromium must run as root in CI, and must not look for anything outside.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Return the path of the machine's browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless. Missing: the test is skipped, in CI it fails."""
    path = find_chromium()
    if path is None:
        missing("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def siege(builder: Builder, postgres_server: PostgresServer, redis_server: RedisServer) -> Iterator[Siege]:
    """One house for all tests about strangers, because each takes half a minute to start."""
    from tests.e2e.strangers import OPTIONS, open_siege
    from workbench.processes import Processes

    with Processes() as processes:
        siege = open_siege(
            builder.build(processes, postgres=postgres_server, redis=redis_server, options=OPTIONS)
        )
        yield siege
        siege.http.close()
        siege.engine.dispose()
