"""The thread that delivers: this process's queue first, then those that dead processes left.

    start ──► [ own queue, every second ] ──► [ orphans, every 10 s ] ──► … ──► stop(timeout)

The thread is a daemon and every wait has a bound, so a receiver that is down, or silent, costs an exit at most the
timeout it was given; what is left stays on disk for the next process. Nothing heavy is imported before the first send.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

from otel_pipeline.queue.claim import Claim, NewerFormatError
from otel_pipeline.queue.delivery import Delivery
from otel_pipeline.queue.folder import queue_files
from otel_pipeline.queue.transport import Transport, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otel_pipeline.queue.counts import Counts
    from otel_pipeline.queue.queue import Queue, Warn
    from otel_pipeline.queue.settings import SenderSettings

__all__ = ["Sender"]

_own_random = random.Random()  # the shared one is the program's, which may have seeded it


class Sender:
    """Delivers the records of `queue` and adopts the orphans of its folder.

    `connect` makes the transport on first use. `clock` is monotonic seconds and `rng` uniform in [0, 1); both are for
    the back-off, not for the bounds of `flush` and `stop`, which are wall-clock.
    """

    def __init__(
        self,
        queue: Queue,
        settings: SenderSettings,
        *,
        warn: Warn | None = None,
        connect: Callable[[SenderSettings], Transport] = open_transport,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = _own_random.random,
    ) -> None:
        self.settings = settings
        self._queue = queue
        self._clock = clock
        self._warn = warn or (lambda message: None)
        self._connect = connect
        self._rng = rng
        self.at_each_step: list[Callable[[], object]] = []
        """Called on the sender's thread about once a second."""
        self.before_adopting: list[Callable[[], object]] = []
        """Called on the sender's thread before it looks for what dead processes left; may append to the queue."""
        self._newer: set[Path] = set()
        self._wanted = False
        self._begin()
        queue.after_fork.append(self._reset_after_fork)
        queue.on_segment.append(self._resume)

    def _begin(self) -> None:
        self._delivery = Delivery(
            self.settings,
            self._connect,
            counts=self._queue.counts,
            warn=self._warn,
            clock=self._clock,
            random=self._rng,
        )
        self._thread: threading.Thread | None = None
        self._claim: Claim | None = None
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._stopping = False
        self._delivered = 0
        self._tried: tuple[int, ...] | None = None  # how many items of each signal there were at the last pass
        self._adopt_at = float("-inf")

    @property
    def queue(self) -> Queue:
        """The queue that it delivers."""
        return self._queue

    @property
    def counts(self) -> Counts:
        """The queue's counts, which the sender adds to."""
        return self._queue.counts

    def start(self) -> None:
        """Start the thread; harmless when it runs. In a forked child it starts by itself with the first record."""
        self._wanted = True
        self._stopping = False
        self._delivery.deadline = float("inf")
        self._launch()

    def _launch(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="otel-pipeline-sender", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is going down; the records stay
                self._thread = None

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Deliver what this process has appended so far; False when that took longer than `timeout_s` seconds."""
        mark = self._queue.appended_bytes
        self._delivery.hurry()
        self.start()
        self._wake.set()
        with self._changed:
            return self._changed.wait_for(lambda: self._delivered >= mark, timeout_s)

    def stop(self, timeout_s: float | None = None) -> bool:
        """Deliver for at most `timeout_s` seconds (default: the settings' exit timeout), then close the queue.

        One attempt is made, none if the receiver is known to be down; it is not waited for to come back. False when
        records of this process are left, which are then on the medium.
        """
        timeout = self.settings.exit_timeout_s if timeout_s is None else timeout_s
        self._delivery.deadline = self._clock() + timeout
        self._wanted = False
        self._stopping = True
        self._wake.set()
        if timeout > 0 and self._queue.appended_bytes > self._delivered:
            self._launch()
        if self._thread and timeout > 0:
            self._thread.join(timeout)
        complete = self._delivered >= self._queue.appended_bytes
        if not complete:
            self._queue.sync()
        self._queue.release()
        return complete

    def step(self) -> float:
        """One pass, as the thread makes it; returns the seconds until the next."""
        for function in self.at_each_step:
            function()
        self._deliver_own()
        now = self._clock()
        if now >= self._adopt_at and self._delivery.ready():
            self._adopt()
            self._adopt_at = self._clock() + self.settings.adopt_s
        if self.at_each_step:
            return self.settings.interval_s
        return max(self.settings.interval_s, self._delivery.wait_s())

    def drain(self, timeout_s: float, *, live: bool = False) -> bool:
        """Deliver every orphan of the folder in this thread, and living processes' queues too when `live`.

        Waits for a receiver that is down, as long as `timeout_s` seconds allow. True when nothing is left. Not for use
        beside `start`.
        """
        end = time.monotonic() + timeout_s
        self._delivery.deadline = self._clock() + timeout_s
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            while not self._adopt(live=live):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                time.sleep(min(left, max(0.05, self._delivery.wait_s())))
            return True
        finally:
            detach(token)
            self._delivery.close()
            self._delivery.deadline = float("inf")

    def _run(self) -> None:
        # Else an instrumented HTTP client would make a span of every request, which would be sent by a request.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while not self._stopping:
            delay = self._guarded_step()
            if not self._stopping:
                self._wake.wait(delay)
            self._wake.clear()
        self._finish()

    def _guarded_step(self) -> float:
        try:
            return self.step()
        except Exception as error:  # noqa: BLE001 - a full disk, a removed folder: the thread must live on
            self.counts.last_error = f"{type(error).__name__}: {error}"
            return self.settings.adopt_s

    def _finish(self) -> None:
        try:
            self._deliver_own()
            self._queue.release()
            # The released file can be removed only now; and children that ended after the last pass are found.
            if self._delivery.ready():
                self._adopt()
            self._delivery.close()
        except Exception as error:  # noqa: BLE001 - at exit there is nobody left to tell
            self.counts.last_error = f"{type(error).__name__}: {error}"

    def _deliver_own(self) -> None:
        mark = self._queue.appended_bytes
        if mark == self._delivered or not self._delivery.ready():
            return
        # Else all that waits for a receiver that is down would be read again each second, in vain.
        appended = tuple(self._queue.counts.appended)
        if self._tried is not None and not self._delivery.may_send(self._tried, appended):
            return
        if not self._delivery.reachable():
            return
        self._tried = None
        complete = True
        for path in self._queue.paths():
            complete &= self._deliver(path)
        self._tried = appended
        if complete:
            with self._changed:
                self._delivered = mark
                self._changed.notify_all()

    def _adopt(self, *, live: bool = False) -> bool:
        complete = True
        for function in self.before_adopting:
            function()
        for path in queue_files(self._queue.settings.folder):
            if not self._delivery.ready():
                return False
            complete &= self._deliver(path, orphans_only=not live)
        return complete

    def _deliver(self, path: Path, *, orphans_only: bool = False) -> bool:
        """Deliver one file; True when nothing is left in it to be done by us."""
        try:
            claim = Claim.take(path, self.counts, living=not orphans_only)
        except NewerFormatError as error:
            self._note_newer(error)
            return True
        if claim is None:
            return orphans_only or not path.exists()
        self._claim = claim
        try:
            return self._delivery.deliver(claim)
        finally:
            self._claim = None
            claim.close()

    def _note_newer(self, error: NewerFormatError) -> None:
        if error.path not in self._newer:
            self._newer.add(error.path)
            self.counts.add("newer")
            self._warn(f"{error}; it is left for that version")

    def _resume(self) -> None:
        if self._wanted and self._thread is None:
            self.start()

    def _reset_after_fork(self) -> None:
        claim = self._claim
        self._delivery.abandon()
        self._begin()
        if claim:
            claim.abandon()
