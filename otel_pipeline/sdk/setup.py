"""``setup()``: one line that gives a process traces, metrics and logs.

::

    setup() ───────────┐               ┌─► providers.py (traces, metrics, logs; or what the user has set already)
    launch(), a distro ┼─► Settings ───┼─► processor, lifecycle, logs, processes, instrumentations
    join(), a child ───┘               └─► script.py (the script's run, or the parent's)

The process's one handle is here: the only global state of the room, with ``reset()`` for tests.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

from otel_pipeline import config
from otel_pipeline.errors import AlreadySetUpError
from otel_pipeline.instrument import business, measuring, registry
from otel_pipeline.sdk import (
    bounded,
    children,
    collectors,
    instrumentations,
    late,
    logs,
    lost,
    patching,
    processes,
    providers,
    script,
    signals,
)
from otel_pipeline.sdk.handle import Handle
from otel_pipeline.sdk.lifecycle import Lifecycle
from otel_pipeline.sdk.processor import KpiSpanProcessor, print_summary, to_be_shown
from otel_pipeline.sdk.progress import follow as follow_progress

if TYPE_CHECKING:
    from otel_pipeline.config import Settings

__all__ = ["Handle", "current_handle", "join", "launch", "reset", "setup"]

_log = logging.getLogger("otel_pipeline")


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
    handle_signals: bool | None = None,
    heartbeat_interval: float | None = None,
    stage_span_limit: int | None = None,
    record_values: bool | None = None,
    strict: str | bool | None = None,
    queue_dir: str | None = None,
    summary: str | None = None,
    progress: str | None = None,
    **unknown: Any,
) -> Handle:
    """Give this process traces, metrics and logs; send them by OTLP where an endpoint is configured.

    Every parameter is a setting (docs/configuration.md) that an environment variable or the config file may give as
    well; ``None`` leaves it to them. A second call with the same settings returns the same handle. Providers that the
    program has set before are used and not replaced.

    >>> import otel_pipeline as op
    >>> handle = op.setup("orders-etl", version="1.4.0", environment="prod")

    Raises SettingError for a setting that does not exist or cannot be used, AlreadySetUpError when a second call
    contradicts the first or comes after ``shutdown``: OpenTelemetry's providers are set once in a process.
    """
    given = {key: value for key, value in locals().items() if key != "unknown"} | unknown
    by_main = sys._getframe(1).f_globals.get("__name__") == "__main__"
    with _State.lock:
        if config.off_in_tests():
            return Handle(config.load(given))  # of this call alone: each test may set up something else
        if _State.handle is not None:
            return _again(_State.handle, given)
        settings = config.load(given)
        for line in config.unknown_variables():
            _log.warning(line)
        return _start(settings, by_main=by_main)


def launch() -> Handle | None:
    """The same for a launcher: what is wrong in the environment or the config file is said, not raised.

    ``None`` in a process that multiprocessing starts for itself: whose ``Process`` it runs sets it up (children.py).
    """
    with _State.lock:
        if _State.handle is not None or children.is_one():
            return _State.handle
        settings = config.load(say=_log.warning)
        for line in config.unknown_variables():
            _log.warning(line)
        try:
            handle = _start(settings, launched=True)
        except Exception as error:  # noqa: BLE001 - the user's program starts, whatever becomes of its telemetry
            _log.warning("otel_pipeline: nothing is recorded: %s", error)
            handle = _State.handle = Handle(settings)
        handle._launched = True
        return handle


def parent(arguments: dict[str, Any]) -> Handle:
    """The same for ``otel-pipeline run`` itself: what is wrong in the environment, the command's process has said."""
    with _State.lock:
        return _start(config.load(arguments, say=lambda line: None))


def join(values: dict[str, Any]) -> None:
    """The same for a child process, with its parent's settings and without a word."""
    with _State.lock:
        if _State.handle is None:
            _start(config.load(values | {"script_run": "false", "summary": "never", "progress": "never"}))


def current_handle() -> Handle | None:
    """The process's handle, if it was set up."""
    return _State.handle


def reset() -> None:
    """Stop and forget everything, for tests. OpenTelemetry's own globals stay as they are."""
    with _State.lock:
        if _State.handle is not None:
            _State.handle.shutdown()
            atexit.unregister(_leave)
        _State.handle = None
        patching.undo()
        registry.reset()


def _again(handle: Handle, given: dict[str, Any]) -> Handle:
    """A second call: nothing new, or what the launcher could not know, or a contradiction."""
    if handle._launched and not handle.stopped:
        # What the launcher has said of the environment and the file need not stop the program now.
        late.take(handle, config.load(given, say=lambda line: None))
        return handle
    settings = config.load(given)
    if handle.stopped:
        raise AlreadySetUpError(
            "setup() after shutdown(): OpenTelemetry's providers are set once in a process and cannot be started anew; "
            "shut down when the program ends, or use flush()"
        )
    for name, origin in settings.origins:
        value, was = getattr(settings, name), getattr(handle.settings, name)
        if origin == "argument" and value != was:
            raise AlreadySetUpError(
                f"setup({name}={value!r}): this process is already set up with {name}={was!r}; call setup() once"
            )
    return handle


def _start(settings: Settings, *, launched: bool = False, by_main: bool = False) -> Handle:
    registry.judge(strict=config.strict(settings), count=measuring.rejected)
    if config.sdk_disabled():
        _State.handle = Handle(settings)
        return _State.handle
    made = providers.make(settings, script.script_name(settings))
    handle = _State.handle = Handle(settings)
    handle.tracer_provider, handle.meter_provider, handle.logger_provider = made.traces, made.metrics, made.logs
    handle._own, handle._sender = made.own, made.sender
    handle._handover = handover = script.continue_parent(config.environment(), settings)
    shown = to_be_shown(settings.summary, under_parent=handover is not None)
    open_runs = lost.watch(made.queue, made.sender, made.traces.resource, made.run_metrics.count)
    handle._processor = KpiSpanProcessor(made.run_metrics, handover, print_summary if shown else None, open_runs)
    made.traces.add_span_processor(handle._processor)
    handle._lifecycle = Lifecycle(made.logs, handover, settings.heartbeat_interval, open_runs)
    registry.listen(handle._lifecycle)
    registry.keep_values(settings.record_values)
    if settings.logs and made.sends_logs:
        logs.capture(made.logs)
    processes.follow(children.Passport, children.ends, children.patience)
    if settings.instrument and not launched:
        instrumentations.load()
    _begin_script(handle, made, launched=launched, by_main=by_main)
    follow_progress(handle)
    if not launched:
        late.tell_parent(handle)
    if made.sender is not None:
        made.sender.start()
    business.on_collectors(collectors.start)
    if settings.handle_signals:
        signals.handle_signals(handle)
    # OpenTelemetry's providers would stop by themselves, in an order of their own and one by one.
    bounded.prepare()
    atexit.register(_leave)
    return handle


def _begin_script(handle: Handle, made: providers.Providers, *, launched: bool, by_main: bool) -> None:
    begun = registry.script()
    if begun is None and script.wanted(handle.settings, launched=launched, by_main=by_main):
        begun = handle._script = script.start(handle.settings, made.ids)
    if begun is not None and handle._lifecycle is not None and not begun.remote:
        handle._lifecycle.run_started(begun)


def _leave() -> None:
    # An impatient Ctrl-C ends the wait, as it ends the program.
    with contextlib.suppress(KeyboardInterrupt):
        if _State.handle is not None:
            _State.handle.shutdown()
    if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt):
        # Ctrl-C has ended the program: Python dies by SIGINT then, but forgets to where a module that is loaded at
        # the end makes a data class. So it is told once more.
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")
