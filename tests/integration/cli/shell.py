"""Runs many ``airflow`` commands in one process: Airflow takes five seconds to start, a command none.

Reads one JSON object a line, ``{"argv": […], "stdin": "…"}``, and answers with one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Airflow says while it starts
    from airflow.__main__ import main as airflow

    for line in requests:
        answer = _run(airflow, **json.loads(line))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _run(airflow: Any, argv: list[str], stdin: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "0").write_text(stdin)
        for number in (0, 1, 2):
            descriptor = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = os.fdopen(os.dup(0))
        sys.argv = ["airflow", *argv]
        code: Any = 0
        try:
            airflow()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = ((folder / number).read_text() for number in "12")
    return {"code": code, "out": out, "err": err}


if __name__ == "__main__":
    main()
