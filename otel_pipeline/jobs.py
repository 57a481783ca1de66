"""Background work of a server: functions that are called again and again, one after the other in one thread.

A job is a row: its name, every how many seconds, what is called. One that fails says so in a line and goes on. One that
waits for somebody else, who may hang, is in ``Jobs`` of its own, so that the others do not wait with it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_pipeline.receive import counters as c

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_pipeline.receive.counters import Counters

_SAID_EVERY_S = 60.0


@dataclass(frozen=True)
class Job:
    """``do`` is called every ``interval_s`` seconds, the first time at once; what it raises is said and counted."""

    name: str
    interval_s: float
    do: Callable[[], object]


class Jobs:
    """Runs ``jobs`` from ``start`` to ``stop``."""

    def __init__(self, jobs: Sequence[Job], counters: Counters, say: Callable[[str], None]) -> None:
        self._due = dict.fromkeys(jobs, 0.0)
        self._said: dict[str, tuple[str, float]] = {}
        self._counters = counters
        self._say = say
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel_pipeline-jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Begin no other job, and wait for the one that runs, ``timeout_s`` seconds at most; whether it has ended."""
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._due:
            job, due = min(self._due.items(), key=lambda item: item[1])
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            self._do(job)
            self._due[job] = time.monotonic() + job.interval_s

    def _do(self, job: Job) -> None:
        try:
            job.do()
        except Exception as error:  # noqa: BLE001 - the others have to go on, and this one the next time
            self._counters.add(c.JOBS, job.name, "failed")
            self._sometimes(job.name, f"{job.name}: {error or type(error).__name__}")
        else:
            self._counters.add(c.JOBS, job.name, "done")
            self._said.pop(job.name, None)

    def _sometimes(self, name: str, text: str) -> None:
        before, when = self._said.get(name, ("", 0.0))
        if text != before or time.monotonic() - when >= _SAID_EVERY_S:
            self._said[name] = text, time.monotonic()
            self._say(text)
