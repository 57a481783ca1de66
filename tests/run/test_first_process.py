"""As the first process of a container, whose orphans are its own and whom signals do not kill."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.run.conftest import PYTHON, TIMEOUT, Parent
from tests.run.test_signals import COUNTING, wait_for

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


@functools.cache
def permitted() -> bool:
    """Whether this process may make a process namespace."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not permitted(), reason="no new process namespace is permitted here")


def start(parent: Parent, *command: str) -> subprocess.Popen[bytes]:
    """``command`` under a parent that is the first process of its namespace."""
    return subprocess.Popen([*NAMESPACE, *parent.argv(*command)], env=parent.environ(), stdout=subprocess.PIPE)


def first_process(process: subprocess.Popen[bytes]) -> int:
    """The first process in the namespace, as it is called outside."""
    limit = time.monotonic() + TIMEOUT
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        assert time.monotonic() < limit
        time.sleep(0.01)
    return int(found[0])


@pytest.mark.parametrize(
    ("text", "status"),
    [("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)],
)
def test_the_status(parent: Parent, text: str, status: int) -> None:
    """An exit status is kept; a death by signal becomes 128 and its number, since the first process cannot die so."""
    process = start(parent, "sh", "-c", text)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == status


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signals_from_outside_reach_the_command(parent: Parent, name: str) -> None:
    """What stops a container is sent to the first process from outside, and passed on."""
    ready = parent.folder / "ready"
    process = start(parent, *PYTHON, "-c", COUNTING, str(ready), name)
    wait_for(ready)
    os.kill(first_process(process), signal.Signals[name])
    output, _ = process.communicate(timeout=TIMEOUT)
    assert (output.decode().split(), process.returncode) == ([name], 0)


def test_orphans_are_buried(parent: Parent) -> None:
    """A process whose parent is gone becomes the first one's child, and does not stay as a zombie."""
    text = """
import os, time
reading, writing = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(reading)
        while os.getppid() != 1:
            time.sleep(0.01)
        os.write(writing, str(os.getpid()).encode())
    os._exit(0)
os.close(writing)
os.wait()
orphan = os.read(reading, 20).decode()
while os.path.exists("/proc/" + orphan):
    time.sleep(0.01)
print("buried")
"""
    process = start(parent, *PYTHON, "-c", text)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert (output, process.returncode) == (b"buried\n", 0)
