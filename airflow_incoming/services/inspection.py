"""What an administrator looks at of integrations: as they are, as they were, and what they may start."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine

from airflow_incoming.core.differences import Difference, differences
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import Integration, Version
from airflow_incoming.db.engine import reading
from airflow_incoming.services import stakes
from airflow_incoming.services.expected import existing_version, no_integration
from airflow_incoming.services.rights import Stakes
from airflow_incoming.stores import integrations, pending
from airflow_incoming.stores.pending import Pending

#: How many versions are listed.
MAX_VERSIONS = 200

Versions = list[Version]
Names = list[str]


class Inspector:
    """Looks at integrations, and changes nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(self, names: Iterable[str] | None = None) -> list[Integration]:
        """Return integrations by name. Raises NotFound for a name that isn't there."""
        wanted = None if names is None else list(names)
        with reading(self._engine) as connection:
            found = integrations.list_all(connection, wanted)
        for name in wanted or ():
            if name not in {integration.name for integration in found}:
                raise no_integration(name)
        return found

    def show(self, name: str) -> Integration:
        """Return one integration. Raises NotFound."""
        return self.list([name])[0]

    def versions(self, name: str) -> Versions:
        """Return the newest 200 versions of an integration, newest first. Raises NotFound."""
        integration_id = self.show(name).id
        with reading(self._engine) as connection:
            return integrations.versions(connection, integration_id, limit=MAX_VERSIONS)

    def version(self, name: str, number: int) -> Version:
        """Return one version of an integration. Raises NotFound, InvalidConfiguration."""
        found = self.show(name)
        with reading(self._engine) as connection:
            return existing_version(connection, found, number)

    def diff(self, name: str, old: int, new: int) -> tuple[Difference, ...]:
        """Return what changed between two versions. Raises NotFound, InvalidConfiguration."""
        before, after = self.version(name, old), self.version(name, new)
        return differences(before.configuration, after.configuration)

    def pending(self, name: str) -> Pending:
        """Count the events of an integration that are still to be dispatched. Raises NotFound."""
        found = self.show(name)
        with reading(self._engine) as connection:
            return pending.count(connection, found)

    def stakes_of_draft(self, name: str, *new: Configuration) -> Stakes:
        """Return what the newest version of an integration would start, beside new configurations."""
        with reading(self._engine) as connection:
            return stakes.of_draft(connection, name, *new)

    def missing_dags(self, configuration: Configuration) -> Names:
        """Return the DAGs of a configuration that aren't there, where Airflow has teams; else none.

        Whichever team deploys one gets the events, since only whoever is trusted may name it.
        """
        with reading(self._engine) as connection:
            return sorted(stakes.of_configuration(connection, configuration).missing)

    def stakes_of_endpoints(self, found: Iterable[Integration]) -> dict[str, Stakes]:
        """Return what whoever knows an endpoint may start, by the integration's name.

        Those that take a credential are left out.
        """
        with reading(self._engine) as connection:
            return stakes.of_endpoints(connection, found)
