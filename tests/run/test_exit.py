"""The parent ends as the command ended, and says so on the run's span."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.conftest import PYTHON, TIMEOUT, Parent, both

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")


@pytest.mark.parametrize(("code", "result"), [(0, "success"), (1, "failure"), (3, "failure"), (255, "failure")])
def test_the_exit_status_is_the_commands(parent: Parent, code: int, result: str) -> None:
    """An exit status passes through, and decides the result where no pipeline told one."""
    assert parent.run(*PYTHON, "-c", f"raise SystemExit({code})").returncode == code
    assert parent.attributes["pipeline.run.result"] == result
    assert parent.attributes["process.exit.code"] == code
    assert parent.attributes.get("error.type") == (f"exit_code_{code}" if code else None)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("no-such-command-anywhere", 127, "otel-pipeline: no-such-command-anywhere: command not found"),
        ("./no/such/file", 127, "otel-pipeline: ./no/such/file: No such file or directory"),
        ("/dev/null", 126, "otel-pipeline: /dev/null: Permission denied"),
        ("/", 126, "otel-pipeline: /: Permission denied"),
    ],
)
def test_a_command_that_does_not_start(parent: Parent, command: str, code: int, message: str) -> None:
    """It gives a shell's status and a line on stderr, and is a failed run."""
    ended = parent.run(command)
    assert ended.returncode == code
    assert ended.stderr.decode().splitlines() == [message]
    assert parent.attributes["pipeline.run.result"] == "failure"
    assert parent.span["status"]["description"] in message


def test_a_script_without_an_interpreter_line(parent: Parent) -> None:
    """It is run by the shell, as other programs that run a command do."""
    script = Path(parent.script('echo "$1"; exit 4', "job"))
    script.chmod(0o755)
    ended = parent.run(str(script), "hello")
    assert (ended.returncode, ended.stdout) == (4, b"hello\n")


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("SIGKILL", "lost"),
        ("SIGSEGV", "lost"),
        ("SIGABRT", "lost"),
        ("SIGTERM", "cancellation"),
        ("SIGINT", "cancellation"),
    ],
)
def test_death_by_a_signal_is_passed_on(parent: Parent, name: str, result: str) -> None:
    """The parent dies by the same signal, so that a shell sees the same status; only the command leaves a core."""
    number = signal.Signals[name]
    default = "" if name == "SIGKILL" else f"signal.signal(signal.{name}, signal.SIG_DFL);"
    text = f"import os, signal; {default} os.kill(os.getpid(), signal.{name})"
    ended = parent.run(*PYTHON, "-c", text, cwd=parent.folder, env=parent.environ())
    assert ended.returncode == -number
    assert parent.attributes["pipeline.run.result"] == result
    assert parent.attributes["pipeline.run.signal"] == name
    assert "process.exit.code" not in parent.attributes
    assert parent.span["status"]["status_code"] == ("ERROR" if result == "lost" else "UNSET")


def test_usage_is_the_commands(parent: Parent) -> None:
    """CPU time and peak memory are those of the command with its children."""
    child = "data = b'x' * 200_000_000; sum(range(3_000_000))"
    text = f"import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', {child!r}], check=True)"
    assert parent.run(*PYTHON, "-c", text).returncode == 0
    assert parent.attributes["pipeline.run.cpu.time"] > 0
    assert 200e6 < parent.attributes["pipeline.run.memory.peak"] < 600e6


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux books on a child")
def test_a_peak_that_may_be_the_parents_is_unknown(parent: Parent) -> None:
    """A command smaller than the parent has no known peak: the kernel tells the parent's."""
    assert parent.run("true").returncode == 0
    assert "pipeline.run.memory.peak" not in parent.attributes


def test_failing_telemetry_is_a_line(parent: Parent) -> None:
    """When the sending and the summary fail, each is one line on stderr and the command's status stays."""
    ended = parent.run(*PYTHON, "-c", "print('out'); raise SystemExit(5)", mode="failing")
    assert (ended.returncode, ended.stdout) == (5, b"out\n")
    assert sorted(ended.stderr.decode().splitlines()) == [
        "otel-pipeline: cannot send the run: RuntimeError: no telemetry",
        "otel-pipeline: cannot show the summary: RuntimeError: no summary",
    ]


def test_stuck_telemetry_is_left(parent: Parent) -> None:
    """When sending hangs, the parent says so and ends as the command did."""
    ended = parent.run(*PYTHON, "-c", "raise SystemExit(6)", mode="stuck")
    assert ended.returncode == 6
    assert ended.stderr.decode().splitlines() == ["otel-pipeline: the run could not be sent within 2 s"]


def test_a_closed_stderr_changes_nothing(parent: Parent) -> None:
    """The status stays the command's also when nobody reads what the parent says."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            parent.argv("no-such-command-anywhere"), stderr=writing, env=parent.environ(), timeout=TIMEOUT, check=False
        )
    finally:
        os.close(writing)
    assert ended.returncode == 127


def test_disabled_is_transparent(parent: Parent) -> None:
    """OTEL_SDK_DISABLED=true: the command runs, its environment untouched, and nothing is sent or printed."""
    environ = parent.environ(OTEL_SDK_DISABLED="true")
    text = "import json, os; print(json.dumps(dict(os.environ)))"
    direct, under = both(parent, [*PYTHON, "-c", text], env=environ)
    assert json.loads(direct.stdout) == json.loads(under.stdout)
    assert (under.stderr, parent.file.exists()) == (b"", False)


def test_nothing_is_left_behind(parent: Parent) -> None:
    """The folder of the handover is gone, and was its owner's alone."""
    text = "import os, stat; print(oct(os.stat(os.environ['OTEL_PIPELINE_HANDOVER']).st_mode))"
    ended = parent.run(*PYTHON, "-c", text, env=parent.environ(TMPDIR=str(parent.folder)))
    assert ended.stdout.decode().strip() == "0o40700"
    assert not list(parent.folder.glob("otel-pipeline-*"))


def test_without_a_temporary_folder(parent: Parent) -> None:
    """The command runs all the same; a line says what is missing."""
    code = (
        "import tempfile, runpy, sys; tempfile.tempdir = '/nowhere'; sys.argv.pop(0);"
        "runpy.run_module('tests.run.parent_process', run_name='__main__')"
    )
    argv = [sys.executable, "-c", code, "-", *parent.argv("true")[3:]]
    ended = subprocess.run(argv, capture_output=True, env=parent.environ(), timeout=TIMEOUT, check=False)
    assert ended.returncode == 0
    assert ended.stderr.decode().startswith("otel-pipeline: cannot learn from the command's processes")
    assert parent.attributes["pipeline.run.result"] == "success"
