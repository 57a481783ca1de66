"""Work that may hang, such as sending, and a bound on the wait for it.

The work runs on a daemon thread, so that the end of the process does not wait for it either. From Python 3.12 no thread
can be started once the interpreter leaves, so that one is put on standby just before.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def within(seconds: float, work: Callable[[], object]) -> bool:
    """Do ``work`` and wait at most ``seconds`` for its end. Whether it has ended; what it raises is dropped."""
    ended = threading.Event()

    def job() -> None:
        with contextlib.suppress(Exception):
            work()
        ended.set()

    try:
        threading.Thread(target=job, name="otel_pipeline sending", daemon=True).start()
    except RuntimeError:
        if not _standby.take(job):
            job()
    return ended.wait(seconds)


def prepare() -> None:
    """Have a thread at hand when the interpreter leaves."""
    if _standby.prepared:
        return
    _standby.prepared = True
    # The hook that concurrent.futures has for the same purpose: the last moment at which a thread can be started.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):
            register(_standby.start)


class _Standby:
    def __init__(self) -> None:
        self.prepared = False
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name="otel_pipeline standby", daemon=True)
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def take(self, job: Callable[[], None]) -> bool:
        if self._thread is None or not self._thread.is_alive():
            return False
        self._jobs.put(job)
        return True

    def _serve(self) -> None:
        while True:
            self._jobs.get()()


_standby = _Standby()
