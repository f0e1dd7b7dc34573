"""Airflow's client tries again by itself: what its second try is told says nothing of the first one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.sdk.api.client import Client, ServerResponseError
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
from airflow.sdk.execution_time.request_handlers import handle_get_dr_count

from airflow_incoming.operators.gate import Gate
from airflow_incoming.operators.runs import RunRefused, RunUncertain
from airflow_incoming.stores.claims import Claims
from airflow_incoming.stores.redis_connection import connect


class Server(ThreadingHTTPServer):
    """Answers as an API server behind a proxy: the first POST's connection breaks, the second is refused."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body = status, body
        self.asked: list[str] = []
        self.made: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name
        """Say nothing."""

    def do_GET(self) -> None:
        run_id = self.path.split("run_ids=")[1].split("&")[0]
        self._answer(200, str(self.server.made.count(run_id)).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        run_id = self.path.rpartition("/")[2]
        self.server.asked.append(run_id)
        if len(self.server.asked) == 1:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif len(self.server.asked) == 2:
            self._answer(self.server.status, self.server.body)
        else:
            self.server.made.append(run_id)
            self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Supervisor:
    """Passes on what a task asks for, over Airflow's own client."""

    def __init__(self, url: str) -> None:
        self._client = Client(base_url=url, token="x")

    def send(self, asked: Any) -> Any:
        try:
            if isinstance(asked, TriggerDagRun):
                return self._client.dag_runs.trigger(asked.dag_id, asked.run_id, asked.conf)
            return handle_get_dr_count(self._client, asked)[0]
        except ServerResponseError as error:
            detail = {"status_code": error.response.status_code, "detail": error.detail}
            refusal = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)
            raise AirflowRuntimeError(refusal) from error

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(*request.param)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    supervisor = Supervisor(f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    yield server
    supervisor.close()
    server.shutdown()
    server.server_close()
    thread.join()


def send(redis: Any, run_id: str) -> str:
    """What a task does: return the run that has what it was to send."""
    client = connect(redis.url, timeout=5)
    gate = Gate(Claims(client, prefix="test"), "aa", window=timedelta(days=7))
    first = gate.enter("dag", run_id)
    if first is None:
        gate.pass_through("dag", run_id, {})
    client.close()
    return first.run_id if first else run_id


PROXY = b'{"detail": "from a proxy"}'


@pytest.mark.parametrize("server", [(401, PROXY), (403, PROXY), (404, PROXY), (429, PROXY)], indirect=True)
def test_a_refusal_of_somebody_else_gives_nothing_back(redis_server: Any, server: Server) -> None:
    """A run that the first try makes a little later is the only one."""
    redis_server.flush()
    with pytest.raises(RunUncertain, match="Retry this task"):
        send(redis_server, "mine")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(send, redis_server, "other")
        server.made.append("mine")
        assert other.result(timeout=30) == "mine"
    assert server.asked == ["mine", "mine"]


@pytest.mark.parametrize(
    "server",
    [
        (404, b'{"detail": {"reason": "not_found", "message": "Dag with dag_id: \'dag\' not found"}}'),
        (400, b'{"detail": {"reason": "import_errors", "message": "Dag has import errors"}}'),
        (422, b'{"detail": [{"type": "missing", "loc": ["body"], "msg": "Field required"}]}'),
    ],
    indirect=True,
)
def test_airflows_own_refusal_does(redis_server: Any, server: Server) -> None:
    """It would have refused the first try, too: the next task triggers at once."""
    redis_server.flush()
    with pytest.raises(RunRefused):
        send(redis_server, "mine")
    assert send(redis_server, "other") == "other"
    assert server.made == ["other"]
