"""Virtual environments made from a lock file, and made again only when it has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from workbench.steps import Failed, step

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
#: uv, which installs a lock several times faster than pip, and what builds this project.
INSTALLERS = REQUIREMENTS / "install.txt"
#: Each file that is installed from a lock has one of its hashes.
LOCKED = ("--require-hashes", "--requirement")


def clean_environ() -> dict[str, str]:
    """Return our environment without what would make another Python or Airflow misbehave."""
    strange = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {k: v for k, v in os.environ.items() if k not in strange and not k.startswith("AIRFLOW")}


class Environment:
    """A virtual environment in ``directory`` that holds what ``lock`` pins, and this project."""

    def __init__(self, directory: Path, lock: Path) -> None:
        self.directory = directory
        self.lock = lock
        self.log = directory.parent / f"{directory.name}-install.log"

    def binary(self, name: str) -> Path:
        return self.directory / "bin" / name

    @property
    def python(self) -> Path:
        return self.binary("python")

    def prepare(self) -> None:
        """Install whatever isn't installed yet."""
        if self._stamp("lock") != self._lock_digest() or not self._works():
            self._create()
        if self._stamp("project") != self._project_digest():
            with step("Installing this project"):
                self._install("--no-deps", *self._builder(), "--editable", str(ROOT))
            self._write_stamp("project", self._project_digest())

    def _create(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with step("Making a virtual environment") as doing:
            doing.note = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
            self._run(sys.executable, "-m", "venv", str(self.directory))
        with step("Fetching the installer") as doing:
            doing.note = "uv" if self._fetch_uv() else "no uv to be had: pip, which is slower"
        pins = sum(line[:1].isalnum() for line in self.lock.read_text().splitlines())
        with step(f"Installing Airflow and all else that is pinned ({pins} lines)"):
            self._install(*LOCKED, str(self.lock))
        self._write_stamp("lock", self._lock_digest())

    def _fetch_uv(self) -> bool:
        try:
            self._run(str(self.python), "-m", "pip", "install", "--quiet", *LOCKED, str(INSTALLERS))
        except Failed:
            return False
        return True

    def _install(self, *arguments: str) -> None:
        if self.binary("uv").exists():
            command = [str(self.binary("uv")), "pip", "install", "--python", str(self.python)]
        else:
            command = [str(self.python), "-m", "pip", "install", "--prefer-binary"]
        self._run(*command, *arguments)

    def _builder(self) -> tuple[str, ...]:
        """Say that this project is built with what is installed; pip alone fetches that for itself."""
        return ("--no-build-isolation",) if self.binary("uv").exists() else ()

    def _run(self, *command: str) -> None:
        # Caches are often on another file system, where uv would warn that it can't make hard links.
        environ = {"UV_LINK_MODE": "copy", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | clean_environ()
        with self.log.open("a", encoding="utf-8") as log:
            print("$", *command, file=log, flush=True)
            done = subprocess.run(command, env=environ, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            raise Failed("\n".join([f"{' '.join(command[:5])} … failed:", *tail, f"All of it: {self.log}"]))

    def _works(self) -> bool:
        if not self.python.exists():
            return False
        return subprocess.run([self.python, "-c", ""], capture_output=True, check=False).returncode == 0

    def _lock_digest(self) -> str:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return hashlib.sha256(self.lock.read_bytes() + INSTALLERS.read_bytes() + version.encode()).hexdigest()

    def _project_digest(self) -> str:
        digest = hashlib.sha256(str(ROOT).encode())
        for name in ("setup.cfg", "pyproject.toml"):
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()

    def _stamp(self, name: str) -> str | None:
        path = self.directory / f".{name}-digest"
        return path.read_text() if path.exists() else None

    def _write_stamp(self, name: str, digest: str) -> None:
        (self.directory / f".{name}-digest").write_text(digest)
