"""Time what our plugin, and each operator, adds to a process that has imported Airflow's own parts."""

from __future__ import annotations

import json
import subprocess
import sys

ROUNDS = 5
PROGRAM = """
import time
{before}
began = time.perf_counter()
{imported}
print(time.perf_counter() - began)
"""
MEASURED = {
    "import_plugin_ms": ("import airflow.plugins_manager", "import airflow_incoming.plugin"),
    "import_operators_ms": ("import airflow.sdk", "import airflow_incoming.operators"),
}


def main() -> None:
    print(json.dumps({name: min(_times(*both)) * 1000 for name, both in MEASURED.items()}))


def _times(before: str, imported: str) -> list[float]:
    command = [sys.executable, "-c", PROGRAM.format(before=before, imported=imported)]
    outputs = [subprocess.run(command, capture_output=True, check=True).stdout for _ in range(ROUNDS)]
    return [float(output.split()[-1]) for output in outputs]


if __name__ == "__main__":
    main()
