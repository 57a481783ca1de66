"""Which signals the parent waits for, and which of them it passes on to the command.

Command and parent are in one process group, so what the terminal sends (Ctrl-C, Ctrl-\\, Ctrl-Z, a new window size)
reaches both from the kernel; what somebody sends to the parent alone reaches the command only through the parent.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

_NAMES_NOT_WATCHED = (
    "SIGKILL", "SIGSTOP",  # cannot be
    "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS",  # faults of the parent itself
    "SIGPIPE", "SIGXFSZ", "SIGXCPU",  # about the parent's own files and time
)  # fmt: skip
_FROM_TERMINAL = ("SIGINT", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGWINCH")
JOB_CONTROL = ("SIGTSTP", "SIGTTIN", "SIGTTOU")
"""They stop a job; the kernel sees to it that a job that nobody could continue is not stopped by them."""

_SI_KERNEL = 0x80  # <asm-generic/siginfo.h>: sent by the kernel, such as by a terminal


@dataclass(frozen=True)
class Received:
    """A signal that the parent got; ``code`` and ``sender`` are ``None`` where the system does not tell."""

    number: int
    code: int | None = None
    sender: int | None = None

    @property
    def name(self) -> str:
        """Such as ``SIGTERM``."""
        return name_of(self.number)


def watched() -> frozenset[int]:
    """The signals that the parent blocks and waits for."""
    not_watched = {getattr(signal, name, 0) for name in _NAMES_NOT_WATCHED}
    return frozenset(int(number) for number in signal.valid_signals() if number not in not_watched)


def wait(numbers: frozenset[int]) -> Received:
    """Wait for one of ``numbers``, which are blocked."""
    if sys.platform == "darwin" or not hasattr(signal, "sigwaitinfo"):
        return Received(int(signal.sigwait(numbers)))
    info = signal.sigwaitinfo(numbers)
    return Received(info.si_signo, info.si_code, info.si_pid)


def is_passed_on(received: Received, child: int) -> bool:
    """Whether the command needs ``received`` from the parent.

    Not when the kernel sent it to the whole group, except for the hangup of a terminal, which only the session's
    leader is told: in a container, or by ``ssh -t``, that is the parent. And not when it comes from the command or
    below it: a script that signals its own group has reached itself.
    """
    if received.code is None:
        return received.name not in _FROM_TERMINAL or not _is_in_foreground()
    if received.code == _SI_KERNEL:
        return received.name == "SIGHUP" and os.getsid(0) == os.getpid()
    return not _is_below(received.sender or 0, child)


def name_of(number: int) -> str:
    """The signal's name, such as ``SIGTERM``; ``SIGRTMIN+3`` and its like have none and are called ``signal 37``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _is_in_foreground() -> bool:
    try:
        return os.tcgetpgrp(2) == os.getpgrp()
    except OSError:
        return False


def _is_below(process: int, ancestor: int) -> bool:
    while process > 1:
        if process == ancestor:
            return True
        try:
            status = Path(f"/proc/{process}/stat").read_text("ascii", errors="replace")
        except OSError:
            return False
        # The name before it is in parentheses and may itself hold spaces and parentheses.
        process = int(status.rpartition(")")[2].split()[1])
    return False
