"""What happened to every item that entered the queue, as numbers: nothing is dropped without one."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from otel_pipeline.queue.format import Signal

__all__ = ["EVENTS", "Counts"]

EVENTS: Final = {
    "appended": "items stored",
    "delivered": "items that a receiver acknowledged",
    "dropped": "items lost here: the queue was full or too old, the disk full, or the folder not writable",
    "failed": "items that could not be encoded",
    "rejected": "items set aside because the receiver refused their request for good",
    "refused": "items that the receiver dropped from a request it otherwise took (partial success)",
    "requests": "requests sent, whatever the answer",
    "retries": "requests that have to be sent again",
    "corrupt_bytes": "bytes set aside because their checksum was wrong",
    "torn_bytes": "bytes of unfinished last writes, cut off",
    "newer": "files of a newer format version, left alone",
}
"""Every event counted, with its meaning; items are spans, log records or data points."""


class Counts:
    """Counters by event and signal (None where no signal applies), safe to use from several threads.

    `appended`, a number per `Signal`, is written by the queue under its own lock, since it moves with every span.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: Counter[tuple[str, Signal | None]] = Counter()
        self.appended = [0] * (max(Signal) + 1)
        self.last_error = ""

    def add(self, event: str, amount: int = 1, signal: Signal | None = None) -> None:
        """Add `amount` to an event of `EVENTS`; raises `KeyError` for another name."""
        if event not in EVENTS:
            raise KeyError(f"no such event {event!r}; want one of {', '.join(EVENTS)}")
        with self._lock:
            self._values[event, signal] += amount

    def total(self, event: str, signal: Signal | None = None) -> int:
        """The sum of an event over all signals, or of one signal."""
        return sum(n for (name, of), n in self.snapshot().items() if name == event and signal in (None, of))

    def snapshot(self) -> dict[tuple[str, Signal | None], int]:
        """A copy of all counters that are not zero."""
        with self._lock:
            values = dict(self._values)
        values.update({("appended", signal): self.appended[signal] for signal in Signal})
        return {key: value for key, value in values.items() if value}

    def reset_after_fork(self) -> None:
        """Begin at zero in a child: the parent's counts are the parent's, and its lock may be held."""
        self._lock = threading.Lock()
        self._values = Counter()
        self.appended = [0] * len(self.appended)
