"""What processes use, as Linux counts it: CPU time and memory of a process and all it has started."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    children = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))):
            children[int(stat[1])].append(int(folder.name))
    found = [pid]
    for one in found:  # grows while it is walked
        found += children[one]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process and its descendants have used, dead ones included."""
    ticks = 0
    for one in family(pid):
        if stat := _stat(one):
            ticks += sum(int(number) for number in stat[11:15])  # utime, stime, cutime, cstime
    return ticks / _TICK


def memory(pid: int) -> int:
    """Return the bytes of memory (proportional set size) of a process and its descendants."""
    total = 0
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def _stat(pid: int) -> list[str] | None:
    """Return the fields after the command's name; the first is the state."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
