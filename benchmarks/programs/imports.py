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
    program = PROGRAM.format(before=before, imported=imported)
    return [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.split()[-1])
        for _ in range(ROUNDS)
    ]


if __name__ == "__main__":
    main()
