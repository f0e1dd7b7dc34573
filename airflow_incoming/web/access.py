"""Who looks at a page, and what they may do: Airflow's own login, asked of Airflow's auth manager.

Nothing here knows which auth manager is configured. Every answer is no unless the manager says yes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.team import Team
from airflow.utils.session import create_session
from jwt import InvalidTokenError
from sqlalchemy import select

from airflow_incoming.services.teams import Teams, enabled, teams_of

log = logging.getLogger(__name__)

TOKEN_COOKIE = COOKIE_NAME_JWT_TOKEN

Method = Literal["GET", "PUT"]


class Permission(Enum):
    """What a page may ask for: a method on a resource of ours, as the auth manager knows them.

    Under FAB these are *can read* and *can edit* on the resource.
    """

    READ_INTEGRATIONS = ("GET", "Incoming Integrations")
    EDIT_INTEGRATIONS = ("PUT", "Incoming Integrations")
    PUBLISH_INTEGRATIONS = ("PUT", "Incoming Publishing")
    READ_EVENTS = ("GET", "Incoming Events")
    EDIT_EVENTS = ("PUT", "Incoming Events")
    READ_KEYS = ("GET", "Incoming API Keys")
    EDIT_KEYS = ("PUT", "Incoming API Keys")

    @property
    def method(self) -> Method:
        """Return GET to look, PUT to change."""
        return self.value[0]

    @property
    def resource(self) -> str:
        """Return the resource's name."""
        return self.value[1]


class Visitor:
    """A signed-in user of Airflow, for the length of one request; an Actor of the services.

    Auth managers may be slow, so each question is asked once.
    """

    is_trusted = False

    def __init__(self, user: Any) -> None:
        self._user = user
        self._manager = get_auth_manager()
        self._answers: dict[object, bool] = {}

    @property
    def name(self) -> str:
        """Return the name under which changes are recorded."""
        return str(self._user.get_name())

    @property
    def id(self) -> str:
        """Return what no other user has."""
        return str(self._user.get_id())

    def may(self, permission: Permission) -> bool:
        """Tell whether they have a permission.

        A change needs the right to edit Connections, too: some auth managers grant the views of
        plugins to every viewer, whatever the method.
        """
        return self._remember(permission, lambda: self._ask(permission))

    def triggerable(self, dag_ids: Iterable[str], teams: Teams | None = None) -> set[str]:
        """Return those of the DAGs that they may trigger, as DAGs of these teams; by default their own."""
        wanted = list(dag_ids)
        owners = _teams_of(wanted) if teams is None else {each: [teams[each]] for each in wanted}
        return self._on_dags(owners, "POST", DagAccessEntity.RUN)

    def readable_dags(self, dag_ids: Iterable[str]) -> set[str]:
        """Return those of the DAGs that they may look at."""
        return self._on_dags(_teams_of(list(dag_ids)), "GET", None)

    def may_emit_assets(self) -> bool:
        """Tell whether they may create asset events, and so start whatever waits for these."""
        return self._remember("POST", lambda: self._on_assets("POST"))

    def may_read_assets(self) -> bool:
        """Tell whether they may look at assets, and so learn which there are."""
        return self._remember("GET", lambda: self._on_assets("GET"))

    def _ask(self, permission: Permission) -> bool:
        if not self._manager.is_authorized_custom_view(
            method=permission.method, resource_name=permission.resource, user=self._user
        ):
            return False
        if permission.method == "GET":
            return True
        return bool(self._manager.is_authorized_connection(method="PUT", user=self._user))

    def _on_assets(self, method: Any) -> bool:
        return bool(self._manager.is_authorized_asset(method=method, user=self._user))

    def _on_dags(
        self, owners: Mapping[str, Sequence[str | None]], method: Any, entity: DagAccessEntity | None
    ) -> set[str]:
        return {
            dag_id
            for dag_id, possible in owners.items()
            if all(self._on_dag(dag_id, team, method, entity) for team in possible)
        }

    def _on_dag(self, dag_id: str, team: str | None, method: Any, entity: DagAccessEntity | None) -> bool:
        def ask() -> bool:
            details = DagDetails(id=dag_id, team_name=team)
            return bool(
                self._manager.is_authorized_dag(
                    method=method, access_entity=entity, details=details, user=self._user
                )
            )

        return self._remember((method, entity, dag_id, team), ask)

    def _remember(self, question: object, ask: Callable[[], bool]) -> bool:
        if question not in self._answers:
            self._answers[question] = ask()
        return self._answers[question]


def visitor_of(token: str | None) -> Visitor | None:
    """Return whom Airflow's login cookie names; None where it is missing, expired, revoked or forged."""
    if not token:
        return None
    try:
        user = asyncio.run(get_auth_manager().get_user_from_token(token))
    except InvalidTokenError:
        return None
    return Visitor(user)


def _teams_of(dag_ids: Sequence[str]) -> dict[str, list[str | None]]:
    """Return the teams that DAGs belong to: each to one, or to none; what isn't there may become any team's.

    Not as Airflow remembers them for a while: who may start what is a matter of the present.
    """
    if not dag_ids or not enabled():
        return {dag_id: [None] for dag_id in dag_ids}
    with create_session() as session:
        known = teams_of(session.connection(), dag_ids)
        every = list(session.scalars(select(Team.name)))
    return {dag_id: [known[dag_id]] if dag_id in known else [None, *every] for dag_id in dag_ids}
