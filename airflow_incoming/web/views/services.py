"""The verbs that the pages call, made by bootstrap: each is a function that returns what has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_incoming.services.icons import Icons
from airflow_incoming.services.keys import KeyManager
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.watch import Watch
from airflow_incoming.settings import Settings

if TYPE_CHECKING:
    from airflow_incoming.services.readiness import ReadinessCheck


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a page may ask for as ``self.services.manager()``. ``base_url`` is the receiver's address."""

    settings: Callable[[], Settings]
    base_url: Callable[[], str]
    manager: Callable[[], Manager]
    keys: Callable[[], KeyManager]
    events: Callable[[], EventDesk]
    icons: Callable[[], Icons]
    readiness: Callable[[], ReadinessCheck]
    listening: Callable[[], Listening]
    watch: Callable[[], Watch]
