"""What the demonstration keeps between two runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from workbench.airflow import make_secrets


class Kept:
    """What one run leaves for the next; there are secrets in it, so only its owner can read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def put(self, name: str, value: Any) -> None:
        self._values[name] = value
        write_privately(self._path, json.dumps(self._values))

    def secrets(self) -> dict[str, str]:
        if self.get("secrets") is None:
            self.put("secrets", make_secrets())
        return dict(self.get("secrets"))


def write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
