"""Signals, streams and the process's surroundings: under the parent as without it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.run.conftest import PYTHON, TIMEOUT, Parent, both

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

COUNTING = """
import os, signal, sys, time
seen = []
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), lambda number, _: seen.append(number))
open(sys.argv[1], "w").write(str(os.getpid()))
def rest():
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit:
        time.sleep(0.01)
while not seen:
    time.sleep(0.01)
rest()
print(",".join(signal.Signals(number).name for number in seen))
"""


def wait_for(file: Path) -> str:
    """The content of ``file`` once there is one."""
    limit = time.monotonic() + TIMEOUT
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < limit, f"{file} did not appear"
        time.sleep(0.01)
    return file.read_text()


def start(parent: Parent, *command: str, **options: object) -> subprocess.Popen[bytes]:
    """``command`` under the parent, running, in a process group of its own."""
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        parent.argv(*command), env=parent.environ(), stdout=subprocess.PIPE, start_new_session=True, **options
    )


@pytest.mark.parametrize(
    "name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGABRT"]
)
def test_a_signal_to_the_parent_reaches_the_command_once(parent: Parent, name: str) -> None:
    """What is sent to the parent alone is passed on; the parent itself does not die of it."""
    ready = parent.folder / "ready"
    process = start(parent, *PYTHON, "-c", COUNTING, str(ready), name)
    wait_for(ready)
    process.send_signal(signal.Signals[name])
    output, _ = process.communicate(timeout=TIMEOUT)
    assert output.decode().split() == [name]
    assert process.returncode == 0


def test_an_unhandled_sigterm_is_a_cancellation(parent: Parent) -> None:
    """The command dies of the signal that the parent passed on, then the parent."""
    ready = parent.folder / "ready"
    text = f"import os, time; open({str(ready)!r}, 'w').write('x'); time.sleep(600)"
    process = start(parent, *PYTHON, "-c", text)
    wait_for(ready)
    process.terminate()
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.SIGTERM
    assert parent.attributes["pipeline.run.result"] == "cancellation"


@pytest.mark.skipif(sys.platform != "linux", reason="needs the sender of a signal")
def test_a_command_that_signals_its_own_group_is_not_signalled_twice(parent: Parent) -> None:
    """What comes from the command or below it has reached the command; passing it on would repeat it."""
    ready = parent.folder / "ready"
    text = COUNTING.replace("while not seen", "os.killpg(0, signal.SIGUSR1)\nwhile not seen")
    process = start(parent, *PYTHON, "-c", text, str(ready), "SIGUSR1")
    output, _ = process.communicate(timeout=TIMEOUT)
    assert output.decode().split() == ["SIGUSR1"]


def test_continuing_the_parent_continues_the_command(parent: Parent) -> None:
    """A command that was stopped alone goes on when the parent is sent SIGCONT."""
    ready = parent.folder / "ready"
    process = start(parent, *PYTHON, "-c", COUNTING, str(ready), "SIGCONT")
    command = int(wait_for(ready))
    os.kill(command, signal.SIGSTOP)
    limit = time.monotonic() + TIMEOUT
    while state_of(command) != "T":
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGCONT)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert output.decode().split() == ["SIGCONT"]


def test_a_running_command_is_not_continued(parent: Parent) -> None:
    """SIGCONT to the parent of a command that was not stopped is not passed on."""
    ready = parent.folder / "ready"
    process = start(parent, *PYTHON, "-c", COUNTING, str(ready), "SIGCONT", "SIGWINCH")
    wait_for(ready)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGWINCH)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert output.decode().split() == ["SIGWINCH"]


def state_of(process: int) -> str:
    """The state letter of ``process``, by ps, which macOS has too."""
    ended = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, check=False, text=True)
    return ended.stdout.strip()[:1]


def lines_about_signals(text: str) -> dict[str, int]:
    """The signal sets of /proc/PID/status, without 32 and 33.

    Those two are the C library's own: its posix_spawn() leaves them ignored, and it sets them up itself before use.
    """
    found = re.findall(r"^(Sig\w+|ShdPnd):\s+([0-9a-f]+)$", text, re.MULTILINE)
    return {name: int(value, 16) & ~(0b11 << 31) for name, value in found}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("blocked", "ignored"),
    [([], []), (["SIGUSR1", "SIGTERM"], []), ([], ["SIGHUP", "SIGINT", "SIGQUIT"]), (["SIGINT"], ["SIGTSTP"])],
)
def test_mask_and_dispositions_are_as_without_the_parent(
    parent: Parent, blocked: list[str], ignored: list[str]
) -> None:
    """The command starts with the mask and dispositions that the parent was started with: nohup works."""
    setting = (
        "import os, signal, sys\n"
        f"for name in {ignored}: signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "for name in ('SIGPIPE', 'SIGXFSZ'): signal.signal(getattr(signal, name), signal.SIG_DFL)\n"
        f"signal.pthread_sigmask(signal.SIG_SETMASK, [getattr(signal, name) for name in {blocked}])\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    command = ["cat", "/proc/self/status"]
    outputs = [
        subprocess.run(
            [*PYTHON, "-c", setting, *argv], capture_output=True, env=parent.environ(), timeout=TIMEOUT, check=True
        ).stdout.decode()
        for argv in (command, parent.argv(*command))
    ]
    direct, under = map(lines_about_signals, outputs)
    assert direct["SigBlk"] == sum(1 << signal.Signals[name] - 1 for name in blocked)
    assert under == direct


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_ignored_sigchld_does_not_lose_the_status(parent: Parent) -> None:
    """A parent that was started with SIGCHLD ignored still learns how the command ended."""
    setting = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    argv = [*PYTHON, "-c", setting, *parent.argv(*PYTHON, "-c", "raise SystemExit(7)")]
    ended = subprocess.run(argv, env=parent.environ(), timeout=TIMEOUT, check=False)
    assert ended.returncode == 7


def test_group_session_and_parent(parent: Parent) -> None:
    """The command is in the parent's own process group and session."""
    text = "import os; print(os.getpgrp(), os.getsid(0))"
    process = start(parent, *PYTHON, "-c", text)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert output.decode().split() == [str(process.pid)] * 2


def test_streams_are_byte_identical(parent: Parent) -> None:
    """Standard input and both outputs are the command's own, to the byte."""
    text = (
        "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[::-1]); sys.stderr.buffer.write(data)"
    )
    data = bytes(range(256)) * 1000
    direct, under = both(parent, [*PYTHON, "-c", text], input=data)
    assert (direct.stdout, direct.stderr) == (under.stdout, under.stderr) == (data[::-1], data)


@pytest.mark.parametrize("command", [["yes"], [*PYTHON, "-c", "while True: print('y')"]], ids=["C", "Python"])
def test_a_reader_that_leaves_early(parent: Parent, command: list[str]) -> None:
    """When the reader of its output is gone, the command ends as it does without the parent."""

    def status(argv: list[str]) -> int:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=parent.environ()) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            return process.wait(TIMEOUT)

    assert status(parent.argv(*command)) == status(command)


def test_the_reader_sees_the_end_when_the_command_closes(parent: Parent) -> None:
    """The parent holds no end of the output: who reads it sees its end although the command goes on."""
    gone = parent.folder / "gone"
    text = (
        f"import os, time\nos.write(1, b'all'); os.close(1)\nwhile not os.path.exists({str(gone)!r}): time.sleep(0.01)"
    )
    process = start(parent, *PYTHON, "-c", text, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.read() == b"all"
    assert process.poll() is None
    gone.touch()
    assert process.wait(TIMEOUT) == 0
    process.stdout.close()


def test_further_descriptors_are_inherited(parent: Parent) -> None:
    """A descriptor that the shell opened for the command (3>file) is there under the parent as well."""
    reading, writing = os.pipe()
    text = f"import os; os.write({writing}, b'hello')"
    ended = parent.run(*PYTHON, "-c", text, pass_fds=[writing])
    os.close(writing)
    assert ended.returncode == 0
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"hello"
