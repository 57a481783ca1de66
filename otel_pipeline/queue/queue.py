"""The durable queue of one process: `append` returns when the record is in the kernel's hands.

From there it outlives the process, however that ends. Delivery is `sender.py`'s work, in this process or a later one.
Nothing here raises into the code that is being watched: what cannot be stored is counted, and said once.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from otel_pipeline.queue.counts import Counts
from otel_pipeline.queue.folder import make_folder, make_room, owner_name, sweep, sweep_if_due
from otel_pipeline.queue.format import Signal, pack_record
from otel_pipeline.queue.segment import Segment

if TYPE_CHECKING:
    from pathlib import Path

    from otel_pipeline.queue.settings import QueueSettings

__all__ = ["Queue", "Warn"]

Warn = Callable[[str], None]
"""Says one line to the user; how is the caller's choice."""

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_REOPEN_S: Final = 5.0


class Queue:
    """Records of this process in segment files; threads share it, a forked child continues in files of its own.

    Use `Queue.open`. Files are made by the first `append`, so a process without telemetry leaves none. Functions in
    `on_segment` are called when a file was begun, those in `after_fork` in a forked child; they must not raise.
    """

    def __init__(
        self,
        settings: QueueSettings,
        *,
        counts: Counts | None = None,
        warn: Warn | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.counts = counts or Counts()
        self.after_fork: list[Callable[[], None]] = []
        self.on_segment: list[Callable[[], None]] = []
        self._warn = warn or (lambda message: None)
        self._clock = clock
        self._warned: set[str] = set()
        self._rotate_bytes = settings.rotate_bytes
        self._begin()

    @classmethod
    def open(
        cls,
        settings: QueueSettings,
        *,
        counts: Counts | None = None,
        warn: Warn | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Queue:
        """A queue in `settings.folder` for this process.

        `counts` and `warn` receive what is dropped and why, `warn` once for each reason; `clock` gives seconds since
        the epoch. Raises nothing: a folder that cannot be used shows at the first `append`.
        """
        queue = cls(settings, counts=counts, warn=warn, clock=clock)
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(queue.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (method := reset()) and method())
        return queue

    def _begin(self) -> None:
        # Re-entrant, since a finaliser or a signal handler may end a span in the middle of an append of its thread.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._owner = owner_name(time.time_ns())
        self._sequence = 0
        self._segment: Segment | None = None
        self._retry_at = 0.0
        self._paths: list[Path] = []
        self.appended_bytes = 0

    @property
    def owner(self) -> str:
        """The name of this process in the folder: its files are `OWNER.000001.q` and so on."""
        return self._owner

    def append(self, signal: Signal, payload: bytes, *, count: int = 1, durable: bool = False) -> bool:
        """Store one serialized OTLP export request of `count` items; False when it had to be dropped.

        The data survives the death of the process on return, and loss of power too when `durable` (a few ms).
        """
        if os.getpid() != self._pid:
            self.reset_after_fork()
        try:
            data = pack_record(signal, count, payload)
            with self._lock:
                self._store(data, durable)
                self.counts.appended[signal] += count
        except (OSError, ValueError) as error:
            self._drop(signal, count, error)
            return False
        return True

    def _store(self, data: bytes, durable: bool) -> None:
        segment = self._segment or self._next_segment()
        try:
            segment.append(data)
        except OSError as error:
            if error.errno not in _FULL or not make_room(self.settings, self.counts):
                raise
            segment.append(data)
        self.appended_bytes += len(data)
        if durable:
            segment.sync()
        if segment.size >= self._rotate_bytes:
            self._rotate(segment)

    def _next_segment(self) -> Segment:
        if time.monotonic() < self._retry_at:
            raise OSError(errno.EAGAIN, f"cannot write to {self.settings.folder}")
        try:
            make_folder(self.settings.folder)
            if not self._paths:
                sweep_if_due(self.settings, self.counts, now=self._clock())
            self._sequence += 1
            path = self.settings.folder / f"{self._owner}.{self._sequence:06d}.q"
            self._segment = Segment.create(path, created=time.time_ns())
        except OSError:
            self._retry_at = time.monotonic() + _REOPEN_S
            raise
        self._paths.append(path)
        for function in self.on_segment:
            function()
        return self._segment

    def _rotate(self, segment: Segment) -> None:
        # The reference goes first: a re-entrant append must never see a closed file.
        self._segment = None
        segment.close()
        try:
            sweep(self.settings, self.counts, now=self._clock())
        except OSError as error:
            self._say(error)

    def _drop(self, signal: Signal, count: int, error: Exception) -> None:
        self.counts.add("dropped", count, signal)
        self.counts.last_error = str(error)
        self._say(error)

    def _say(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.EAGAIN or reason in self._warned:
            return
        self._warned.add(reason)
        try:
            self._warn(f"cannot store telemetry in {self.settings.folder}: {reason}; it is dropped and counted")
        except Exception:  # noqa: BLE001 - the caller's function must not break the caller
            return

    def paths(self) -> list[Path]:
        """This process's files that were not known to be gone at the last call, oldest first, the open one last."""
        with self._lock:
            self._paths = [path for path in self._paths if path.exists()]
            return list(self._paths)

    def sync(self) -> bool:
        """Have everything appended so far survive a loss of power; False when that failed."""
        with self._lock:
            try:
                if self._segment:
                    self._segment.sync()
            except OSError as error:
                self._say(error)
                return False
        return True

    def release(self) -> None:
        """Close the open file, so that anybody may drain and remove it; a later `append` begins another."""
        with self._lock:
            segment, self._segment = self._segment, None
            if segment:
                segment.close()

    def close(self) -> None:
        """`sync` and `release`: what a process does last."""
        self.sync()
        self.release()

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child; done by itself, and harmless twice.

        The parent's file stays the parent's: the child closes its copy of the descriptor, so that the parent's death
        frees the lock.
        """
        if os.getpid() == self._pid:
            return
        segment = self._segment
        self._begin()
        self.counts.reset_after_fork()
        if segment:
            segment.abandon()
        for function in self.after_fork:
            function()
