"""Pin the requirements, with their hashes, for every supported Python and platform in one file each."""

from __future__ import annotations

import argparse
import subprocess
import sys

from workbench.environment import INSTALLERS, REQUIREMENTS, ROOT, clean_environ
from workbench.steps import step

COMPILE = ["pip", "compile", "--universal", "--python-version", "3.10", "--no-annotate", "--quiet"]
COMPILE += ["--generate-hashes", "--custom-compile-command", "make lock"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="to the newest versions")
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    pin("install", *upgrade)
    pin("demo", "setup.cfg", *upgrade)
    # What is tested and measured is what is demonstrated: the demo's pins bind the others'.
    for name in ("test", "bench"):
        pin(name, "setup.cfg", *upgrade, "--constraint", str((REQUIREMENTS / "demo.txt").relative_to(ROOT)))


def pin(name: str, *options: str) -> None:
    source, lock = f"requirements/{name}.in", f"requirements/{name}.txt"
    with step(f"Pinning {lock}"):
        command = [*uv(), *COMPILE, *options, "-o", lock, source]
        subprocess.run(command, cwd=ROOT, env=clean_environ(), check=True)


def uv() -> list[str]:
    """Return the command of the uv that made the test environment, or of one fetched for this run."""
    installed = ROOT / ".test" / "venv" / "bin" / "uv"
    if installed.exists():
        return [str(installed)]
    venv = ROOT / ".test" / "lock"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([str(venv / "bin" / "pip"), "install", "--quiet", "-r", str(INSTALLERS)], check=True)
    return [str(venv / "bin" / "uv")]


if __name__ == "__main__":
    main()
