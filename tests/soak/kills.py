"""A thousand SIGKILLs: see `tests/e2e/ends/kills.py`."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from ..e2e.ends.kills import Killed, kill_many
from .report import Section, table

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 1000
SHARE = 1 / 3


def kills(folder: Path) -> Section:
    """Kill, count, deliver."""
    killed = kill_many(KILLS, folder)
    near = killed.near(killed.since_append)
    passed = not killed.problems and killed.kills == KILLS and near >= SHARE
    return Section((*_lines(killed), "", *(f"- FAILED: {problem}" for problem in killed.problems)), passed)


def _lines(killed: Killed) -> list[str]:
    delays = sorted(killed.since_append)
    rows: list[tuple[object, ...]] = [
        ("SIGKILLs", killed.kills),
        ("stages whose end had returned", killed.stages),
        ("of these lost", sum("lost" in problem or "not delivered" in problem for problem in killed.problems)),
        ("queue files left, all readable" if not killed.problems else "queue files left", killed.files),
        ("with a torn last write", killed.torn_files),
        (
            "kills at most 5 ms after an append, by the process's clock",
            f"{killed.near(killed.since_append):.1%}",
        ),
        ("the same by the file's time, which is kept to 4 ms", f"{killed.near(killed.since_write):.1%}"),
        ("from an append to the kill: median, longest", f"{median(delays) * 1e3:.2f} ms, {delays[-1] * 1e3:.0f} ms"),
        ("stages on disk whose end had not returned yet", killed.unannounced),
        ("spans sent twice: killed between a request and its note", killed.repeated),
    ]
    return table(("what", "count"), rows)
