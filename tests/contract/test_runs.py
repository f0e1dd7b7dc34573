"""DAG runs by way of Airflow's own connection between a task and its supervisor, whom a thread plays."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowTaskTimeout, ParamValidationError
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CommsDecoder, _RequestFrame, _ResponseFrame
from airflow.sdk.execution_time.timeout import timeout
from msgspec.msgpack import Decoder

from airflow_incoming.operators import runs
from airflow_incoming.operators.runs import PayloadRefused, RunRefused, RunUncertain

OK = {"type": "OKResponse", "ok": True}
Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Supervisor:
    """Answers the requests of a task one after another, as Airflow's does."""

    def __init__(self, end: socket.socket) -> None:
        self.runs: set[str] = set()
        self.slow = 0.0
        self.error: dict[str, Any] | None = None
        self._end = end
        self._thread = threading.Thread(target=self._serve_on)
        self._thread.start()

    def _serve_on(self) -> None:
        with suppress(OSError):  # a task may end with an answer unread
            self._serve()

    def _serve(self) -> None:
        decoder = Decoder(_RequestFrame)
        while header := self._end.recv(4):
            frame = decoder.decode(self._end.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL))
            assert frame.body is not None
            body = self._answer(frame.body)
            error = self.error if body is OK else None
            response = _ResponseFrame(frame.id, None if error else body, error)
            self._end.sendall(response.as_bytes())

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["type"] == "GetDRCount":
            return {"type": "DRCount", "count": len(self.runs.intersection(request["run_ids"]))}
        time.sleep(self.slow)
        if self.error is None:
            self.runs.add(request["run_id"])
        return OK

    def stop(self) -> None:
        self._thread.join(10)
        self._end.close()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    ours, its = socket.socketpair()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", CommsDecoder(socket=ours), raising=False)
    supervisor = Supervisor(its)
    yield supervisor
    ours.close()
    supervisor.stop()


def refused(status: int, message: str, reason: str = "value_error") -> dict[str, Any]:
    detail = {"status_code": status, "detail": {"detail": {"reason": reason, "message": message}}}
    return {"type": "ErrorResponse", "error": "API_SERVER_ERROR", "detail": detail}


def test_made_and_found(supervisor: Supervisor) -> None:
    """A run that was made exists, others don't."""
    assert runs.create_run("dag", "mine", {}) is True
    assert runs.exists("dag", "mine") is True
    assert runs.exists("dag", "other") is False


@pytest.mark.parametrize("error", [None, refused(404, "not found")])
def test_interrupted(supervisor: Supervisor, error: dict[str, Any] | None) -> None:
    """After a timeout in the middle of making a run, the answer to that isn't taken for another one's."""
    supervisor.slow, supervisor.error = 0.5, error
    with pytest.raises(AirflowTaskTimeout), timeout(0.1):
        runs.create_run("dag", "mine", {})
    assert runs.exists("dag", "mine") is (error is None)


@pytest.mark.parametrize(
    ("param", "value", "said"),
    [
        (Param(0, type="number"), "hunter2", "order.total breaks its rule 'type'"),
        (Param("", enum=["", "a\nFailed validating 'b' in schema"]), "hunter2", "breaks its rule 'enum'"),
        (Param(type="number"), None, "order.total breaks its rule"),
    ],
)
def test_refused_by_params(supervisor: Supervisor, param: Param, value: Any, said: str) -> None:
    """The field and its rule are told; the value isn't, which the task's log would keep."""
    params = ParamsDict({"order.total": param}, suppress_exception=True)
    with pytest.raises(ParamValidationError) as theirs:
        ParamsDict({**params, "order.total": Param(value, **param.schema)}).validate()
    supervisor.error = refused(400, str(theirs.value))
    with pytest.raises(PayloadRefused) as caught:
        runs.create_run("dag", "mine", {})
    assert said in caught.value.detail
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_refused_otherwise(supervisor: Supervisor) -> None:
    """What a retry may mend is told apart from what it can't, and from what nobody knows."""
    supervisor.error = refused(404, "no", "not_found")
    with pytest.raises(RunRefused, match="There is no DAG 'dag'"):
        runs.create_run("dag", "mine", {})
    supervisor.error = refused(400, "Dag has import errors")
    with pytest.raises(RunRefused, match="refuses a run of DAG 'dag': Dag has import errors") as caught:
        runs.create_run("dag", "mine", {})
    assert not isinstance(caught.value, PayloadRefused)
    supervisor.error = refused(503, "down", "")
    with pytest.raises(RunUncertain, match=r"\(down\)\. Retry this task"):
        runs.create_run("dag", "mine", {})
