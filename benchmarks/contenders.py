"""Who is measured: a route of a server, and what it wants to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from benchmarks.bodies import order, trigger
from benchmarks.ground import Ground
from benchmarks.servers import Server, Servers
from workbench.processes import fetch
from workbench.steps import Failed

#: With 16 Airflow's trigger uses up its own pool of database connections, and hangs until that times out.
REST_CONNECTIONS = 4


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One line of the table."""

    name: str
    server: Server
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    triggers: bool = False
    most_connections: int = 1000

    def body(self, size: int) -> bytes:
        """Return the template of what it is sent."""
        return trigger(order(size)) if self.triggers else order(size)


class Contenders:
    """Makes contenders out of servers. A name is ``server`` or ``server:route``.

    Routes of ours are ``secure`` and ``ten`` (other integrations) and ``flask`` (the blueprint);
    ``rest:one`` and ``rest:ten`` are Airflow's own trigger of a DAG.
    """

    def __init__(self, ground: Ground, servers: Servers) -> None:
        self._ground = ground
        self._servers = servers
        self.get = cache(self._get)

    def _get(self, name: str) -> Contender:
        server_name, _, route = name.partition(":")
        server = self._servers.get(server_name)
        if server.airflow is None:
            path = "/hooks/orders" if server_name == "webhook" else "/events"
            return Contender(name=name, server=server, url=f"{server.base}{path}")
        with server.turn():
            if server_name.startswith("rest"):
                return self._rest(name, server, dag=route)
            return self._ours(name, server, route)

    def _rest(self, name: str, server: Server, *, dag: str) -> Contender:
        assert server.airflow is not None
        url = f"{server.airflow.url}/api/v2/dags/{dag}/dagRuns"
        headers = {"Authorization": f"Bearer {server.airflow.token()}"}
        return Contender(
            name=name,
            server=server,
            url=url,
            headers=headers,
            triggers=True,
            most_connections=REST_CONNECTIONS,
        )

    def _ours(self, name: str, server: Server, route: str) -> Contender:
        assert server.airflow is not None
        integration = route if route in ("secure", "ten") else "orders"
        base = f"{server.airflow.url}/pluginsv2/incoming" if route == "flask" else server.base
        headers = {"Authorization": f"Bearer {self._token(server)}"} if route == "secure" else {}
        url = f"{base}/{self._ground.template.endpoints[integration]}"
        return Contender(name=name, server=server, url=url, headers=headers)

    def _token(self, server: Server) -> str:
        payload = {"apiKey": self._ground.template.api_key}
        status, _, answer = fetch(f"{server.base}/auth/token", payload=payload)
        if status != 200:
            raise Failed(f"{server.name} gave no token: {status} {answer}")
        return str(answer["token"])
