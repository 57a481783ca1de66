"""``setup()``: one line that gives a process traces, metrics and logs, and the handle that it returns.

::

    setup() ─┐                    ┌─► providers.py (traces, metrics, logs; or what the user has set already)
    distro ──┼─► Settings ─► _start ─► processor, lifecycle, logs, processes, instrumentations
    passport ┘                    └─► script.py (the script's run, or the parent's)

The process's one handle is here: the only global state of the room, with ``reset()`` for tests.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from otel_pipeline import config
from otel_pipeline.errors import AlreadySetUpError
from otel_pipeline.instrument import registry
from otel_pipeline.sdk import instrumentations, logs, processes, providers, script
from otel_pipeline.sdk.lifecycle import Lifecycle
from otel_pipeline.sdk.processor import KpiSpanProcessor, print_summary

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

_log = logging.getLogger("otel_pipeline")


class Handle:
    """What ``setup()`` returns: the providers, and the means to send now or stop. A context manager that stops.

    The providers are ``None`` when ``OTEL_SDK_DISABLED=true``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tracer_provider: TracerProvider | None = None
        self.meter_provider: MeterProvider | None = None
        self.logger_provider: LoggerProvider | None = None
        self._own: tuple[Any, ...] = ()
        self._sender: Sender | None = None
        self._lifecycle: Lifecycle | None = None
        self._handover: Handover | None = None
        self._script: Run | None = None
        self._launched = False
        self._stopped = False

    def flush(self, timeout: float | None = None) -> bool:
        """Send what has ended until now, in at most ``timeout`` seconds (default: the exit timeout)."""
        seconds = self.settings.exit_timeout if timeout is None else timeout
        stored = self._store(seconds)
        return stored and (self._sender is None or self._sender.flush(seconds))

    def _store(self, seconds: float) -> bool:
        """Have everything on disk; with another exporter than ours, sent."""
        done = [bool(provider.force_flush(int(seconds * 1000))) for provider in self._own]
        return all(done)

    def shutdown(self) -> None:
        """End what is open, send what there is within the exit timeout, and stop. A second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        self._end_runs(sys.exc_info()[1])
        if self._lifecycle is not None:
            self._lifecycle.stop()
        registry.listen(None)
        logs.release()
        for provider in self._own:
            with contextlib.suppress(Exception):
                provider.shutdown()
        if self._sender is not None:
            self._sender.stop(self.settings.exit_timeout)

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
        if self._script is not None and not self._script.taken and self._script.pid == os.getpid():
            self._script.taken = True
            script.end(self._script, error)


class _State:
    handle: Handle | None = None
    lock = threading.RLock()


def setup(
    service_name: str | None = None,
    *,
    version: str | None = None,
    environment: str | None = None,
    name: str | None = None,
    script_run: str | bool | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    logs: bool | None = None,
    instrument: bool | None = None,
    exit_timeout: float | None = None,
    heartbeat_interval: float | None = None,
    stage_span_limit: int | None = None,
    queue_dir: str | None = None,
    summary: str | None = None,
    **unknown: Any,
) -> Handle:
    """Give this process traces, metrics and logs; send them by OTLP where an endpoint is configured.

    Every parameter is a setting (docs/configuration.md) that an environment variable or the config file may give as
    well; ``None`` leaves it to them. A second call with the same settings returns the same handle. Providers that the
    program has set before are used and not replaced.

    >>> import otel_pipeline as op
    >>> handle = op.setup("orders-etl", version="1.4.0", environment="prod")

    Raises SettingError for a setting that does not exist or cannot be used, AlreadySetUpError when a second call
    contradicts the first.
    """
    given = {key: value for key, value in locals().items() if key != "unknown"} | unknown
    by_main = sys._getframe(1).f_globals.get("__name__") == "__main__"
    with _State.lock:
        if _State.handle is not None and not _State.handle._stopped:
            return _again(_State.handle, config.load(given))
        return _start(config.load(given), launched=False, by_main=by_main)


def launch() -> Handle:
    """The same for a launcher: what is wrong in the environment or the config file is said, not raised."""
    with _State.lock:
        if _State.handle is not None:
            return _State.handle
        handle = _start(config.load(say=_log.warning), launched=True, by_main=False)
        handle._launched = True
        return handle


def current_handle() -> Handle | None:
    """The process's handle, if it was set up."""
    return _State.handle


def reset() -> None:
    """Stop and forget everything, for tests. OpenTelemetry's own globals stay as they are."""
    with _State.lock:
        if _State.handle is not None:
            _State.handle.shutdown()
            atexit.unregister(_State.handle.shutdown)
        _State.handle = None
        processes.forget()
        registry.reset()


def _again(handle: Handle, settings: Settings) -> Handle:
    """A second call: nothing new, or what the launcher could not know, or a contradiction."""
    told = {name: value for name, value in settings.values().items() if dict(settings.origins).get(name) == "argument"}
    other = {name: value for name, value in told.items() if getattr(handle.settings, name) != value}
    if handle._launched:
        if other:
            handle.settings = settings
            providers.rename(handle._own, settings)
        handle._launched = False
        _tell_parent(handle)
        return handle
    for name, value in other.items():
        was = getattr(handle.settings, name)
        raise AlreadySetUpError(
            f"setup({name}={value!r}): this process is already set up with {name}={was!r}; "
            "call setup() once, or shut the first handle down before"
        )
    return handle


def _start(settings: Settings, *, launched: bool, by_main: bool) -> Handle:
    handle = _State.handle = Handle(settings)
    for line in config.unknown_variables():
        _log.warning(line)
    if config.sdk_disabled():
        return handle
    environ = config.environment()
    handle._handover = handover = script.continue_parent(environ, settings)
    made = providers.make(settings, script.script_name(settings))
    handle.tracer_provider, handle.meter_provider, handle.logger_provider = made.traces, made.metrics, made.logs
    handle._own, handle._sender = made.own, made.sender
    shown = settings.summary == "always" or (settings.summary == "auto" and handover is None and _on_terminal())
    processor = KpiSpanProcessor(made.run_metrics, handover, print_summary if shown else None)
    made.traces.add_span_processor(processor)
    handle._lifecycle = Lifecycle(made.logs, handover, settings.heartbeat_interval)
    registry.listen(handle._lifecycle)
    if settings.logs and made.sends_logs:
        logs.capture(made.logs)
    processes.follow(Passport, _child_ends)
    if settings.instrument and not launched:
        instrumentations.load()
    _begin_script(handle, made, launched=launched, by_main=by_main)
    if not launched:
        _tell_parent(handle)
    if made.sender is not None:
        made.sender.start()
    # OpenTelemetry's providers would stop by themselves, in an order of their own and one by one.
    atexit.register(handle.shutdown)
    return handle


def _begin_script(handle: Handle, made: providers.Providers, *, launched: bool, by_main: bool) -> None:
    begun = registry.script()
    if begun is None and script.wanted(handle.settings, launched=launched, by_main=by_main):
        begun = handle._script = script.start(handle.settings, made.ids)
    if begun is not None and handle._lifecycle is not None and not begun.remote:
        handle._lifecycle.run_started(begun)


def _tell_parent(handle: Handle) -> None:
    if handle._handover is not None:
        told = {key: getattr(handle.settings, key) for key in ("service_name", "version", "environment")}
        handle._handover.service(told)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class Passport:
    """Goes along with a ``multiprocessing.Process``; unpickled in a spawned child, it sets that up like its parent."""

    def __reduce__(self) -> tuple[Any, ...]:
        from otel_pipeline.instrument.context import carrier  # noqa: PLC0415

        handle = _State.handle
        values = handle.settings.values() if handle is not None and not handle._stopped else None
        return (_arrive, (values, carrier()))


def _arrive(values: dict[str, Any] | None, variables: dict[str, str]) -> Passport:
    if values is not None:
        with _State.lock, contextlib.suppress(Exception):
            if _State.handle is None:
                _start(config.load(values | {"script_run": "false"}), launched=False, by_main=False)
            from otel_pipeline.instrument.context import current  # noqa: PLC0415

            if variables:
                current.set(processes.context_of(variables))
    return Passport()


def _child_ends() -> None:
    # Its queue is on disk then; the parent, or whoever comes next, delivers it.
    if _State.handle is not None:
        _State.handle._store(_State.handle.settings.exit_timeout)
