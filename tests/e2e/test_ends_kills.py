"""SIGKILL in the middle of appending and sending: a stage whose end has returned is never lost.

A thousand of them are `python -m tests.soak kills`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ends.kills import kill_many

if TYPE_CHECKING:
    from pathlib import Path


def test_fifty_kills_lose_no_stage_that_had_ended(tmp_path: Path) -> None:
    """Every queue is readable and everything is delivered; at least a third of the kills are within 5 ms of a write."""
    killed = kill_many(50, tmp_path)
    assert not killed.problems, "\n".join(killed.problems)
    assert killed.kills == 50
    assert killed.stages > 50
    assert killed.near(killed.since_append) >= 1 / 3
