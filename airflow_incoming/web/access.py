"""Who looks at a page, and what they may do: Airflow's own login, asked of Airflow's auth manager.

Nothing here knows which auth manager is configured. Every answer is no unless the manager says yes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from enum import Enum
from typing import Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.configuration import conf
from airflow.models.dag import DagModel
from jwt import InvalidTokenError

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
    """A signed-in user of Airflow, for the length of one request."""

    def __init__(self, user: Any) -> None:
        self._user = user
        self._manager = get_auth_manager()
        self._answers: dict[Permission, bool] = {}

    @property
    def name(self) -> str:
        """Return the name under which changes are recorded."""
        return str(self._user.get_name())

    def may(self, permission: Permission) -> bool:
        """Tell whether they have a permission.

        A change needs the right to edit Connections, too: some auth managers grant the views of
        plugins to every viewer, whatever the method.
        """
        if permission not in self._answers:
            self._answers[permission] = self._ask(permission)
        return self._answers[permission]

    def triggerable(self, dag_ids: Iterable[str]) -> set[str]:
        """Return those of the DAGs that they may trigger."""
        return {dag_id for dag_id in dag_ids if self._may_on_dag(dag_id, "POST", DagAccessEntity.RUN)}

    def readable_dags(self, dag_ids: Iterable[str]) -> set[str]:
        """Return those of the DAGs that they may look at."""
        return {dag_id for dag_id in dag_ids if self._may_on_dag(dag_id, "GET", None)}

    def may_emit_assets(self) -> bool:
        """Tell whether they may create asset events, and so start whatever waits for these."""
        return bool(self._manager.is_authorized_asset(method="POST", user=self._user))

    def _ask(self, permission: Permission) -> bool:
        if not self._manager.is_authorized_custom_view(
            method=permission.method, resource_name=permission.resource, user=self._user
        ):
            return False
        if permission.method == "GET":
            return True
        return bool(self._manager.is_authorized_connection(method="PUT", user=self._user))

    def _may_on_dag(self, dag_id: str, method: Any, entity: DagAccessEntity | None) -> bool:
        details = DagDetails(id=dag_id, team_name=_team_of(dag_id))
        return bool(
            self._manager.is_authorized_dag(
                method=method, access_entity=entity, details=details, user=self._user
            )
        )


def visitor_of(token: str | None) -> Visitor | None:
    """Return whom Airflow's login cookie names; None where it is missing, expired, revoked or forged."""
    if not token:
        return None
    try:
        user = asyncio.run(get_auth_manager().get_user_from_token(token))
    except InvalidTokenError:
        return None
    return Visitor(user)


def _team_of(dag_id: str) -> str | None:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return None
    name: str | None = DagModel.get_team_name(dag_id)
    return name
