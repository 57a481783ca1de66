"""End as the command ended, so that whoever waits for the parent learns what it would have learnt of the command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from otel_pipeline.run.supervision import Ended


def leave(ended: Ended) -> NoReturn:
    """End this process with the exit status of ``ended``, or by its signal.

    It does not return through the interpreter's own end, which could wait for threads that send, or change the status
    where an output is closed.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if ended.signal is not None and sys.platform != "win32":
        _die_by(ended.signal)
    os._exit(ended.shell_status & 0xFF if sys.platform != "win32" else ended.shell_status)


def _die_by(number: int) -> None:
    """Die by the signal; comes back as the first process of a container, which the kernel spares."""
    import resource  # noqa: PLC0415 - not on Windows

    # The command has left its core. A limit of 1 also keeps the kernel from piping one to a program.
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
    with contextlib.suppress(OSError, ValueError):  # SIGKILL needs and allows no disposition
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
