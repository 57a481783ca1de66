"""A real terminal (a pty) with a process in it, to type into and to read from."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The new session's leader opens the terminal and so controls it; then it becomes the command.
_LEADER = """
import fcntl, os, sys, termios
terminal = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for descriptor in (0, 1, 2):
    os.dup2(terminal, descriptor)
os.execvpe(sys.argv[2], sys.argv[2:], os.environ)
"""
CTRL_C, CTRL_Z, CTRL_D = "\x03", "\x1a", "\x04"


class Terminal:
    """``command`` as the leader of a session on a terminal of its own, of ``width`` by ``height`` where they matter."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None = None,
        *,
        term: str = "dumb",
        width: int = 0,
        height: int = 0,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _LEADER, os.ttyname(slave), *command],
            env={**env, "TERM": term},
            cwd=cwd,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        os.close(slave)
        # Until the leader has opened it the terminal seems to be at its end: a read may find it neither so nor ready.
        os.set_blocking(self._master, False)
        self.text = ""
        self.read_to = 0

    def type(self, keys: str) -> None:
        """Type ``keys``."""
        os.write(self._master, keys.encode())

    def expect(self, wanted: str, patience: float = 30) -> str:
        """Read until ``wanted`` appears after what was expected before; returns what came before it."""
        limit = time.monotonic() + patience
        while (at := self.text.find(wanted, self.read_to)) < 0:
            ready = select.select([self._master], [], [], max(0.0, limit - time.monotonic()))[0]
            gone = ready and not self._read() and self.process.poll() is not None
            assert ready and not gone, f"{wanted!r} did not appear in {self.text!r}"
        before, self.read_to = self.text[self.read_to : at], at + len(wanted)
        return before

    def appears(self, wanted: str, patience: float) -> bool:
        """Whether ``wanted`` appears; read on from behind it if so."""
        try:
            self.expect(wanted, patience)
        except AssertionError:
            return False
        return True

    def end(self, patience: float = 30) -> int:
        """Read to the end and wait for the process; its return code."""
        limit = time.monotonic() + patience
        while self._read_some(limit):
            pass
        return self.process.wait(patience)

    def hang_up(self) -> None:
        """Close the terminal under the process."""
        if self._master >= 0:
            os.close(self._master)
        self._master = -1

    def close(self) -> None:
        """End the process, if it is still there, and let go of the terminal."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_some(self, limit: float) -> bool:
        assert time.monotonic() < limit, f"the process did not end: {self.text!r}"
        if select.select([self._master], [], [], 0.1)[0]:
            return self._read()
        return self.process.poll() is None

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except BlockingIOError:
            return True
        except OSError:  # Linux: nobody has the other side any more
            return False
        self.text += data.decode(errors="replace")
        return bool(data)
