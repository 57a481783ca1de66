"""Progress on a terminal, below what the program writes, without ever getting into its way.

::

    what the program wrote …
    ▂                                ◄─ the cursor stays here, where the program's next output, prompt or echo goes
    orders-etl · 12.4 s              ◄─ drawn below it, and
      extract  41,230 in  3,352/s    ◄─ erased (from the cursor on) before the program writes anything

No stream is replaced: for as long as a run is open, the program's streams that are on a terminal tell of a write before
it is made, and an audit hook tells of what else is about to use the terminal. Whoever writes without being seen (a
library in C) writes at the cursor, so nothing of it is ever erased. docs/decisions/0008-live-progress.md says why.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil

from otel_pipeline import config

try:
    import fcntl
    import termios
except ImportError:  # Windows: its consoles are left alone
    fcntl = termios = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from otel_pipeline.terminal.progress import RunProgress

# Values of TERM of what can only write on.
_NO_TERMINAL = ("", "dumb", "unknown")
_MOST_LINES = 16
_NARROWEST, _LOWEST = 20, 5
_WIDEST = 120
_INTERVAL = 0.5  # seconds between two states
_SOON = 0.1  # after the program has written, in which it may write more
_STOPPED = 0.2  # seconds for a terminal that takes nothing, such as after Ctrl-S
_PATIENCE = 1.0  # for whoever draws meanwhile
_ERASE = "\x1b[J"
_UNSEEN = re.compile(rb"(?:\x1b\[\??[0-9;]*[hlm])+$")  # colours and modes, which leave the cursor where it is
_COOKED = ("ICANON", "ECHO")

# After these another program, or what the user types, goes to the terminal.
_ASKS, _ANSWERED = "builtins.input", "builtins.input/result"
_EVENTS = frozenset(
    (_ASKS, _ANSWERED, "builtins.breakpoint", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system",
     "pty.spawn", "subprocess.Popen")
)  # fmt: skip


def on_stderr(*, always: bool) -> Screen | None:
    """A screen where stderr is a terminal on which lines can be drawn; with ``always`` wherever stderr is a file."""
    try:
        terminal = sys.stderr.isatty()
        able = terminal and termios is not None and config.environment().get("TERM", "") not in _NO_TERMINAL
        return Screen(sys.stderr, terminal=terminal) if able or always else None
    except (AttributeError, OSError, ValueError):  # none, closed, or not of the system's
        return None


def sweep() -> None:
    """Erase what a process that was killed has left below the cursor of the terminal that stderr is."""
    if (screen := on_stderr(always=False)) is not None:
        _quietly(os.write, screen.descriptor, _ERASE.encode())


class Screen:
    """Draws lines below the cursor and erases them. Nothing here raises into the program, or waits for long.

    Only the process that made it draws; on a terminal only one process at a time.
    """

    def __init__(self, stream: TextIO, *, terminal: bool) -> None:
        self._stream = stream
        self.descriptor = stream.fileno()
        self._terminal = terminal
        self._pid = os.getpid()
        self._fd = -1
        self._lock = threading.RLock()
        self._streams = _Streams(self)
        self._drawn = False
        self._drawn_at = 0.0
        self._written_over = threading.Event()
        self._line_open = False  # the program has begun a line and not ended it
        self._asking = 0  # the thread that waits for an answer
        self._not_before = 0.0
        self._dead = False

    def begin(self) -> None:
        """See Display."""

    def wait(self) -> None:
        """Wait until the next state is due: sooner where the program has written in between."""
        if self._written_over.wait(_INTERVAL):
            time.sleep(max(_SOON, self._drawn_at + _INTERVAL / 2 - time.monotonic()))
            self._written_over.clear()

    def show(self, runs: Sequence[RunProgress]) -> None:
        """Draw them instead of what was drawn before; nothing, where the terminal is in use otherwise."""
        if self._dead or not self.take():
            return
        try:
            if not self._open() or time.monotonic() < self._not_before:
                return
            self._streams.watch()
            _listen(self)
            if self._line_open or self._asking:
                self._erase()
            elif _child_prints(self._fd):
                self._erase()
                self._close()  # the child may draw there meanwhile
            elif not self._given():
                self._drawn = False  # what is drawn there is another program's business now
            else:
                self._draw(runs)
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Erase what is drawn, and let go of the terminal and the streams."""
        if not self.take():
            return
        try:
            self._erase()
            self._streams.release()
            self._line_open, self._asking = False, 0
            self._close()
        finally:
            self._lock.release()

    # --- what the program does ------------------------------------------------------------------------------------

    def take(self) -> bool:
        """Hold the lock, in the process that draws. Where it cannot be had in time, nothing is drawn any more."""
        if os.getpid() != self._pid:
            return False
        if not self._lock.acquire(timeout=_PATIENCE):
            self._dead = True
            return False
        return True

    def output_begins(self) -> bool:
        """The program is about to write. Whether ``output_ended`` is to be called: nothing is drawn until then."""
        if self._dead or not self._streams.watched or not self.take():
            return False
        try:
            self._erase(by_output=True)
        except BaseException:
            self._lock.release()
            raise
        return True

    def output_ended(self, data: Any) -> None:
        """It has written ``data``, or only flushed what it had written."""
        try:
            if data:
                self._note(data)
        except Exception:  # noqa: BLE001 - data is the program's, of whatever type
            self._line_open = False
        finally:
            self._lock.release()

    def heard(self, event: str) -> None:
        """An audit event of Python's."""
        if event == _ANSWERED:
            self._asking = 0
        elif self._streams.watched and self.take():
            try:
                self._erase()
                self._asking = threading.get_ident() if event == _ASKS else self._asking
                self._not_before = time.monotonic() + _INTERVAL  # a child is to be seen by then
            finally:
                self._lock.release()

    def _note(self, data: Any) -> None:
        end = bytes(data[-1:])
        if end in (b"h", b"l", b"m"):
            end = _UNSEEN.sub(b"", bytes(data[-64:]))[-1:]
        if end:
            self._line_open = end not in (b"\n", b"\r")
        if self._asking == threading.get_ident():
            self._asking = 0

    # --- drawing --------------------------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Have the terminal open: by itself, so as not to block, and so that other processes know."""
        if self._fd >= 0:
            return True
        fd = -1
        if self._terminal:
            with contextlib.suppress(OSError):
                fd = os.open(os.ttyname(self.descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._fd, fd = fd, -1
            if fd >= 0:  # another process draws there
                _quietly(os.close, fd)
                return False
        if self._fd < 0:
            with contextlib.suppress(OSError):
                self._fd = os.dup(self.descriptor)
        return self._fd >= 0

    def _close(self) -> None:
        if self._fd >= 0:
            if self._terminal:
                _quietly(fcntl.flock, self._fd, fcntl.LOCK_UN)  # forked children have it open as well
            _quietly(os.close, self._fd)
        self._fd = -1

    def _given(self) -> bool:
        """Whether the terminal is in its usual state, and ours: not in an editor's, and not in the background."""
        if not self._terminal:
            return True
        try:
            flags = termios.tcgetattr(self._fd)[3]
        except (termios.error, OSError):
            self._dead = True
            return False
        with contextlib.suppress(OSError):  # not the terminal that controls us: nobody else's in the foreground
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return False
        return all(flags & getattr(termios, name) for name in _COOKED)

    def _draw(self, runs: Sequence[RunProgress]) -> None:
        from otel_pipeline.terminal.printing import progress_lines  # noqa: PLC0415 - loads rich, first used here

        try:
            width, height = os.get_terminal_size(self._fd)
        except OSError:
            width, height = 0, 0
        if not (width and height):  # unknown
            width, height = 80, 24
        if width < _NARROWEST or height < _LOWEST:
            return self._erase()
        # A line that ends at the margin would be continued by some terminals.
        lines = progress_lines(runs, min(width - 1, _WIDEST), min(height - 3, _MOST_LINES), self._stream)
        if lines:
            self._write(_below_the_cursor(lines))
            self._drawn, self._drawn_at = True, time.monotonic()
        return None

    def _erase(self, *, by_output: bool = False) -> None:
        if self._drawn:
            self._drawn = False
            if by_output:
                self._written_over.set()
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        """Write it in one piece, or as far as a terminal takes it that is stopped."""
        data = text.encode("utf-8", "replace")
        end = time.monotonic() + _STOPPED
        while data and not self._dead and time.monotonic() < end:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                _quietly(select.select, [], [self._fd], [], _STOPPED)
            except OSError:  # hung up, or closed
                self._dead = True


def _below_the_cursor(lines: Sequence[str]) -> str:
    """Make room below the cursor and write there, the cursor's own line untouched and the cursor where it was."""
    room = "\x1bD" * len(lines) + f"\x1b[{len(lines)}A"
    return f"{room}\x1b7" + "".join(f"\r\n{line}\x1b[K" for line in lines) + f"{_ERASE}\x1b8"


def _quietly(call: Callable[..., object], *arguments: object) -> None:
    with contextlib.suppress(OSError, ValueError):
        call(*arguments)


# --- who else uses the terminal -------------------------------------------------------------------------------------


_TOLD = ("write", "flush")


class _Streams:
    """The program's streams that are on a terminal. They are not replaced: two methods of theirs tell the screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.watched: list[Any] = []
        self._before: list[tuple[Any, dict[str, Any]]] = []

    def watch(self) -> None:
        """Watch what stdout and stderr are now."""
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            # Below the text is where all of it passes, in whichever way it was written.
            buffer = getattr(stream, "buffer", None)
            with contextlib.suppress(Exception):  # closed, or of the program's own making
                if buffer is not None and not any(buffer is known for known in self.watched) and buffer.isatty():
                    own = getattr(buffer, "__dict__", {})  # empty, unless others do the same as we
                    self._before.append((buffer, {name: own[name] for name in _TOLD if name in own}))
                    self.watched.append(buffer)
                    buffer.write, buffer.flush = self._telling(buffer.write), self._telling(buffer.flush)

    def release(self) -> None:
        """Leave them as they were. Who kept such a method goes on with one that tells nobody."""
        for buffer, before in self._before:
            for name in _TOLD:
                if getattr(getattr(buffer, name, None), "of_screen", None) is self:
                    with contextlib.suppress(Exception):
                        setattr(buffer, name, before[name]) if name in before else delattr(buffer, name)
        self.watched, self._before = [], []

    def _telling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        screen = self._screen

        def output(*data: Any) -> Any:
            if not screen.output_begins():
                return original(*data)
            try:
                return original(*data)
            finally:
                screen.output_ended(data[0] if data else None)

        output.of_screen = self  # type: ignore[attr-defined]
        return output


class _Audit:
    """Python's audit events, for the screen that draws: a hook cannot be taken away, so there is one at most."""

    screen: Screen | None = None
    hooked = False

    @staticmethod
    def hook(event: str, arguments: object) -> None:
        if event in _EVENTS and _Audit.screen is not None:
            with contextlib.suppress(Exception):
                _Audit.screen.heard(event)


def _listen(screen: Screen) -> None:
    _Audit.screen = screen
    if not _Audit.hooked:
        _Audit.hooked = True
        with contextlib.suppress(Exception):
            sys.addaudithook(_Audit.hook)


def _child_prints(terminal: int) -> bool:
    """Whether another program that this one has started has its output on the terminal.

    Not the processes of multiprocessing, which do this program's work; they too write at the cursor.
    """
    if hasattr(os, "waitid"):
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # a look only: reaps nobody
        except ChildProcessError:
            return False
        except OSError:
            pass
    with contextlib.suppress(psutil.Error, OSError):
        own = psutil.Process()
        return any(_prints(child, own.cmdline(), terminal) for child in own.children())
    return False


def _prints(child: psutil.Process, own: list[str], terminal: int) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        command = child.cmdline()
        if command == own or any("multiprocessing" in word for word in command):
            return False
        if sys.platform != "linux":
            return bool(command)  # one cannot see where its output goes
        there = os.stat(f"/proc/{child.pid}/fd/1")  # noqa: PTH116 - a link to no path
        return stat.S_ISCHR(there.st_mode) and there.st_rdev == os.fstat(terminal).st_rdev
    return False
