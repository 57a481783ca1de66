"""What holds of every command: who reads its output, and what it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from otel_pipeline import history
from otel_pipeline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

CALL = "import sys; from otel_pipeline.cli import main; sys.exit(main())"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
@pytest.mark.parametrize("command", ["version", "queue status --json", "runs --json"])
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, command: str) -> None:
    """As with `| head`: nothing is said, and the exit status is that of a command that SIGPIPE ended."""
    environment = {
        **os.environ,
        "OTEL_PIPELINE_QUEUE_DIR": str(tmp_path),
        "OTEL_PIPELINE_STORE": str(tmp_path / "s.db"),
    }
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", CALL, *command.split()],
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("last", [0, -1])
def test_fewer_runs_than_one_are_refused(last: int) -> None:
    """The error quotes the option and the number."""
    with pytest.raises(UsageError, match=f"--last {last}: want 1 or more"):
        history.runs(None, last=last)


@pytest.mark.parametrize("window", ["0s", "0h0m", "0.0d"])
def test_a_window_of_no_time_is_refused(window: str) -> None:
    """The error quotes the option and the window."""
    with pytest.raises(UsageError, match=f"--window '{window}': want more than no time"):
        history.seconds(window)
