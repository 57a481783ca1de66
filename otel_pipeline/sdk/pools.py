"""The context's way into pools of processes: each task carries the context of the call that submitted it.

A pool's workers are started once and serve many callers, so what they inherited when they were started says nothing.
"""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import get_current_span

from otel_pipeline.instrument.context import carrier, current, from_carrier, inside
from otel_pipeline.instrument.run import Run
from otel_pipeline.sdk.patching import replace, when_imported
from otel_pipeline.sdk.threads import here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from opentelemetry.context import Context


class Carried:
    """A task for a worker process, with the context of its submission. Picklable where ``function`` is."""

    def __init__(self, function: Callable[..., Any], variables: Mapping[str, str]) -> None:
        self.function = function
        self.variables = variables

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task there."""
        outer = current.get()
        current.set(context_of(self.variables))
        try:
            return self.function(*args, **kwargs)
        finally:
            current.set(outer)


def context_of(variables: Mapping[str, str]) -> Context:
    """The context that a carrier describes: inside the run of the process that made it, if there is one."""
    context, run_id, name, backfill = from_carrier(variables)
    span = get_current_span(context)
    if run_id is None or not span.get_span_context().is_valid:
        return context
    run = Run(name or "unknown", id=run_id, backfill=backfill, identity_=span.get_span_context(), remote=True)
    run.enter(None)
    return inside(run, span, context)


def follow(patience: Callable[[], float]) -> None:
    """Let the context go along; ``patience`` is how many seconds workers have to store what they know at their end."""
    when_imported("multiprocessing.pool", functools.partial(_follow_pool, patience=patience))
    when_imported("concurrent.futures.process", _follow_executor)


def _follow_executor(module: ModuleType) -> None:
    def carrying(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return original(self, Carried(fn, carrier()), *args, **kwargs)

        return submit

    replace(module.ProcessPoolExecutor, "submit", carrying)


def _follow_pool(module: ModuleType, patience: Callable[[], float]) -> None:
    def carrying(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            threads = isinstance(self, module.ThreadPool)
            return original(self, here(func) if threads else Carried(func, carrier()), *args, **kwargs)

        return submit

    def gently(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def terminate(cls: Any, *args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(Exception):
                _dismiss(module, patience(), *args, **kwargs)
            return original(cls, *args, **kwargs)

        return terminate

    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        replace(module.Pool, name, carrying)
    replace(module.Pool, "_terminate_pool", gently)


def _dismiss(module: ModuleType, seconds: float, *args: Any) -> None:
    """Let a pool's idle workers end by themselves.

    ``with Pool() as pool:`` kills them by a signal at its end, and with them the counts that they have in memory. Where
    a task is still to be done the caller means to kill it.
    """
    _, _, _, workers, notifier, handler, _, _, cache = args
    if cache or handler._state != module.RUN or not workers or not hasattr(workers[0], "terminate"):
        return
    handler._state = module.CLOSE
    notifier.put(None)
    end = time.monotonic() + seconds
    for worker in list(workers):
        worker.join(max(0.0, end - time.monotonic()))
