"""What the kernel says about memory: kills for lack of it, and how large processes were."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def oom_kills(processes: Path = Path("/proc"), groups: Path = _CGROUPS) -> int:
    """How many processes the kernel has killed for lack of memory in this control group, else on this machine.

    0 where nothing tells. See https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
    """
    counters = (
        *(groups / path / "memory.events" for path in _own_groups(processes, "")),
        *(groups / "memory" / path / "memory.oom_control" for path in _own_groups(processes, "memory")),
        # Inside a container the group's own path is not there; its root is.
        groups / "memory.events",
        groups / "memory" / "memory.oom_control",
        processes / "vmstat",
    )
    for counter in counters:
        if found := re.search(r"^oom_kill (\d+)$", _text(counter), re.MULTILINE):
            return int(found[1])
    return 0


def _own_groups(processes: Path, controller: str) -> list[str]:
    lines = [line.split(":", 2) for line in _text(processes / "self" / "cgroup").splitlines()]
    return [line[2].lstrip("/") for line in lines if len(line) == 3 and controller in line[1].split(",")]


def peak_bytes(maxrss: int) -> int:
    """``ru_maxrss`` in bytes: it is in kilobytes except on macOS."""
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def floor_of_children(processes: Path = Path("/proc")) -> int:
    """The peak in bytes that Linux books on a child before its own program runs: that of the process that starts it.

    A child's reported peak that is not above this floor says nothing about the child.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _text(processes / "self" / "status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="replace")
    except OSError:
        return ""
