"""The handle that ``setup()`` returns: what this process was set up with, and the means to send now or to stop."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from otel_pipeline.instrument import business, registry
from otel_pipeline.sdk import collectors, logs, script
from otel_pipeline.sdk.bounded import within

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from typing_extensions import Self

    from otel_pipeline.config import Settings
    from otel_pipeline.instrument.run import Run
    from otel_pipeline.queue import Sender
    from otel_pipeline.sdk.handover import Handover
    from otel_pipeline.sdk.lifecycle import Lifecycle
    from otel_pipeline.sdk.processor import KpiSpanProcessor
    from otel_pipeline.sdk.progress import Progress

# Seconds for what must not be left out where nothing is to be waited for: to put on disk what is in memory.
_STORING = 0.5


class Handle:
    """The providers, ``flush`` and ``shutdown``. A context manager that shuts down.

    The providers are ``None`` when ``OTEL_SDK_DISABLED=true``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tracer_provider: TracerProvider | None = None
        self.meter_provider: MeterProvider | None = None
        self.logger_provider: LoggerProvider | None = None
        self.stopped = False
        # What setup.py knows and others need not.
        self._own: tuple[Any, ...] = ()
        self._sender: Sender | None = None
        self._processor: KpiSpanProcessor | None = None
        self._lifecycle: Lifecycle | None = None
        self._progress: Progress | None = None
        self._handover: Handover | None = None
        self._script: Run | None = None
        self._launched = False
        self._lock = threading.Lock()

    @property
    def sender(self) -> Sender | None:
        """What delivers this process's queue, where there is one."""
        return self._sender

    def flush(self, timeout: float | None = None) -> bool:
        """Send what has ended until now, and wait at most ``timeout`` seconds for it (default: the exit timeout).

        Whether all of it was sent.
        """
        seconds = self.settings.exit_timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        stored = self.store(seconds)
        return stored and (self._sender is None or self._sender.flush(max(0.0, end - time.monotonic())))

    def store(self, seconds: float) -> bool:
        """Have on disk what has ended until now; where it goes to another exporter than ours, have it sent."""
        with contextlib.suppress(Exception):
            registry.end_abandoned()
        done: list[bool] = []

        def flush() -> None:
            for provider in self._own:
                done.append(bool(provider.force_flush(int(seconds * 1000))))

        return within(max(seconds, _STORING), flush) and len(done) == len(self._own) and all(done)

    def shutdown(self) -> None:
        """End what is open, send what there is within the exit timeout, and stop. A second call does nothing."""
        with self._lock:
            if self.stopped:
                return
            self.stopped = True
        if self._progress is not None:
            self._progress.stop()
        with contextlib.suppress(Exception):
            self._end_runs(sys.exc_info()[1])
        if self._lifecycle is not None:
            self._lifecycle.stop()
        business.on_collectors(None)
        collectors.stop()
        registry.listen()
        logs.release()
        self._stop(self.settings.exit_timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _end_runs(self, error: BaseException | None) -> None:
        registry.end_abandoned()
        for run in registry.open_runs():
            run.cut_off()
        begun = self._script
        if begun is not None and not begun.taken and begun.pid == os.getpid():
            begun.taken = True
            script.end(begun, error)

    def _stop(self, seconds: float) -> None:
        end = time.monotonic() + seconds

        def stop() -> None:
            for provider in self._own:
                with contextlib.suppress(Exception):
                    provider.shutdown()

        within(max(seconds, _STORING), stop)
        self.hang_up(max(0.0, end - time.monotonic()))

    def hang_up(self, seconds: float) -> None:
        """Send for at most ``seconds`` what is on disk, then nothing more; the rest stays there."""
        if self._sender is not None:
            with contextlib.suppress(Exception):
                self._sender.stop(seconds)
