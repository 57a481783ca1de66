"""Run a command as its parent, noticed as little as possible, and see how it ends."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_pipeline.run import memory, signals

if TYPE_CHECKING:
    import resource
    from collections.abc import Callable, Mapping, Sequence

_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ", "SIGXFZ")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    ``exit_status`` is ``None`` when ``signal`` ended it. ``cpu_seconds`` and ``peak_rss_bytes`` are of the command and
    the processes that it waited for, ``None`` where unknown. ``problem`` says why a command did not start at all.
    """

    started_ns: int
    ended_ns: int
    exit_status: int | None = None
    signal: int | None = None
    cpu_seconds: float | None = None
    peak_rss_bytes: int | None = None
    out_of_memory: bool = False
    problem: str | None = None

    @property
    def shell_status(self) -> int:
        """The status as a shell tells it: 128 and the signal's number for a death by signal."""
        return 128 + self.signal if self.signal is not None else self.exit_status or 0


def supervise(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    started: Callable[[], None] = lambda: None,
) -> Ended:
    """Run ``command`` to its end; ``started`` is called when it runs.

    On POSIX the signals of ``signals.watched()`` stay blocked in the calling thread afterwards: what comes while the
    run's telemetry is sent must not end the parent before it can end as the command did.
    """
    if sys.platform == "win32":
        return _supervise_anywhere(command, environ, started)
    began, clock, kills = time.time_ns(), time.monotonic_ns(), memory.oom_kills()
    # Not SIG_DFL: some systems do not keep signals whose default is to be ignored, not even while blocked. And not
    # SIG_IGN, which a parent may have left to us: the child's status would be lost.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    original = signal.pthread_sigmask(signal.SIG_BLOCK, signals.watched())
    floor = memory.floor_of_children()
    try:
        child = _spawn(command, environ, original)
    except (OSError, ValueError) as error:
        return _not_started(command, error, began)
    started()
    status, usage = _Watch(child).attend()
    code = os.waitstatus_to_exitcode(status)
    peak = memory.peak_bytes(usage.ru_maxrss)
    return Ended(
        started_ns=began,
        ended_ns=began + time.monotonic_ns() - clock,
        exit_status=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_rss_bytes=peak if peak > floor else None,
        out_of_memory=memory.oom_kills() > kills,
    )


def _spawn(command: Sequence[str], environ: Mapping[str, str], mask: set[int | signal.Signals]) -> int:
    """Start ``command`` with the mask and dispositions that the parent was started with.

    Those that Python changed at its start are set to their defaults, as ``subprocess`` does; what else is ignored
    (by ``nohup``, by a shell for a background job) stays ignored.
    """
    defaults = {getattr(signal, name) for name in _IGNORED_BY_PYTHON if hasattr(signal, name)}

    def spawn(program: str, words: Sequence[str]) -> int:
        return os.posix_spawnp(program, list(words), environ, setsigmask=mask, setsigdef=defaults)

    try:
        return spawn(command[0], command)
    except OSError as error:
        path = shutil.which(command[0])
        if error.errno != errno.ENOEXEC or path is None:
            raise
        # A script without #! is for the shell, as with execvp().
        return spawn("/bin/sh", ["/bin/sh", path, *command[1:]])


class _Watch:
    """Attends to one child until it has ended."""

    def __init__(self, child: int) -> None:
        self._child = child
        # As the first process of a container, the parent inherits orphans and has to bury them.
        self._whom = -1 if os.getpid() == 1 else child
        self._stopped = False
        self._numbers = signals.watched()

    def attend(self) -> tuple[int, resource.struct_rusage]:
        """The child's wait status and its usage of resources, when it has ended."""
        while True:
            received = signals.wait(self._numbers)
            if (end := self._look()) is not None:
                return end
            if received.number in (signal.SIGCHLD, signal.SIGCONT):
                # A continued job is continued as a whole; one that is still stopped, only the parent was continued.
                wanted = received.number == signal.SIGCONT and self._stopped
            else:
                wanted = True
            if wanted and signals.is_passed_on(received, self._child):
                os.kill(self._child, received.number)

    def _look(self) -> tuple[int, resource.struct_rusage] | None:
        while True:
            pid, status, usage = os.wait4(self._whom, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid == 0:
                return None
            if pid != self._child:
                continue
            if os.WIFSTOPPED(status):
                self._stopped = True
                _stop_by(os.WSTOPSIG(status))
            elif os.WIFCONTINUED(status):
                self._stopped = False
            else:
                return status, usage


def _stop_by(number: int) -> None:
    """Stop as the child did, so that the shell, which watches the parent only, sees its job stopped.

    Not after a SIGSTOP: whoever sent that to the child would not know that the parent has to be continued as well.
    """
    if signals.name_of(number) in signals.JOB_CONTROL:
        # Sent while it is blocked, it becomes one with the terminal's that may be waiting: two would stop twice.
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def _not_started(command: Sequence[str], error: OSError | ValueError, began: int) -> Ended:
    if isinstance(error, FileNotFoundError):
        status, problem = 127, "command not found" if os.sep not in command[0] else "No such file or directory"
    else:
        status, problem = 126, getattr(error, "strerror", None) or str(error)
    return Ended(began, time.time_ns(), exit_status=status, problem=f"{command[0]}: {problem}")


def _supervise_anywhere(command: Sequence[str], environ: Mapping[str, str], started: Callable[[], None]) -> Ended:
    """Without POSIX: no signals to pass on and no usage to see; Ctrl-C reaches the console's every process."""
    import subprocess  # noqa: PLC0415 - for these systems only

    began = time.time_ns()
    try:
        child = subprocess.Popen(list(command), env=dict(environ))
    except OSError as error:
        return _not_started(command, error, began)
    started()
    while True:
        try:
            return Ended(began, exit_status=child.wait(), ended_ns=time.time_ns())
        except KeyboardInterrupt:
            continue
