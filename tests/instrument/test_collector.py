"""Lazy stages that the garbage collector ends, wherever it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("collected.py")


def test_stages_collected_within_a_change_of_the_context_break_nothing() -> None:
    """Before Python 3.12 the collector may run in the middle of ``ContextVar.set``, which then reads freed memory."""
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), "400"], capture_output=True, text=True, timeout=300, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "intact\n"), ended.stderr
