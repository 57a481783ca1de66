"""``setup(handle_signals=True)``: close runs as cancelled when the process is told to stop and has no parent of ours.

Off by default. Python runs a handler only between two of its instructions: a process that is in a long C call (a
query, a download) when SIGTERM comes goes on until that call returns, where without a handler it ends at once. What has
ended is on disk in both cases; `otel-pipeline run` closes the run from outside without any of this.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from otel_pipeline.sdk.bounded import within

if TYPE_CHECKING:
    from otel_pipeline.sdk.handle import Handle

_HANDLED = ("SIGTERM", "SIGHUP")
_GRACE = 1.0  # seconds, beyond the exit timeout, for putting on disk what is in memory


def handle_signals(handle: Handle) -> None:
    """Handle those signals that nobody handles, where that is possible: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, frame: object) -> None:
        del frame
        # On a thread, since the interrupted code may hold a lock that the end of its span needs.
        within(handle.settings.exit_timeout + _GRACE, handle.shutdown)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for name in _HANDLED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)
