"""The context's way into threads and processes that the program starts.

=========================  =======================================================================================
Thread, ThreadPoolExecutor the thread, or each task, begins in the context of the call that started or submitted it
subprocess                 the carrier is added to the child's environment (``TRACEPARENT`` and whose run it is)
multiprocessing            a *passport* on the ``Process``: a spawned child that unpickles it is set up like its parent
Pool, ProcessPoolExecutor  each task carries the context of the call that submitted it
=========================  =======================================================================================

What such a child ends is exported before it goes: multiprocessing's children skip ``atexit``.
"""

from __future__ import annotations

import functools
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

from otel_pipeline.instrument.context import carrier, current, from_carrier, inside
from otel_pipeline.instrument.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from opentelemetry.context import Context

_undo: list[tuple[Any, str, Any]] = []


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
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    context, run_id, name = from_carrier(variables)
    span = get_current_span(context)
    if run_id is None or not span.get_span_context().is_valid:
        return context
    run = Run(name or "unknown", id=run_id, identity_=span.get_span_context(), remote=True)
    run.enter(None)
    return inside(run, span, context)


def follow(passport: Callable[[], object], child_ends: Callable[[], None]) -> None:
    """Let the context go along. ``passport`` makes what a spawned child unpickles; ``child_ends`` flushes it."""
    if _undo:
        return
    _replace(threading.Thread, "start", _start_thread)
    _replace(subprocess.Popen, "__init__", _popen)
    register_post_import_hook(_follow_threads, "concurrent.futures.thread")
    register_post_import_hook(lambda module: _follow_processes(module, passport, child_ends), "multiprocessing.process")
    register_post_import_hook(_follow_pool, "multiprocessing.pool")
    register_post_import_hook(_follow_executor, "concurrent.futures.process")


def forget() -> None:
    """Undo ``follow``, for tests."""
    while _undo:
        owner, name, original = _undo.pop()
        setattr(owner, name, original)


def _replace(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    _undo.append((owner, name, original))
    setattr(owner, name, wrap(original))


def _start_thread(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(self: Any) -> Any:
        context, run = current.get(), self.run

        def run_here() -> Any:
            del self.run  # ours, of the instance: it would keep the thread in a cycle
            current.set(context)
            return run()

        # Of the instance, so that subclasses with a run() of their own are followed too.
        self.run = run_here
        return original(self)

    return start


def _follow_threads(module: ModuleType) -> None:
    def submitting(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            context = current.get()

            def task(*arguments: Any, **named: Any) -> Any:
                outer = current.get()
                current.set(context)
                try:
                    return fn(*arguments, **named)
                finally:
                    current.set(outer)

            return original(self, task, *args, **kwargs)

        return submit

    _replace(module.ThreadPoolExecutor, "submit", submitting)


def _popen(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> Any:
        # `env` by position would be the eleventh argument: nobody does, and then it is left as it is.
        if len(args) < 11 and (variables := carrier()):
            given = kwargs.get("env")
            kwargs["env"] = {**os.environ, **variables} if given is None else {**variables, **given}
        return original(self, *args, **kwargs)

    return init


def _follow_processes(module: ModuleType, passport: Callable[[], object], child_ends: Callable[[], None]) -> None:
    def start(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def with_passport(self: Any) -> Any:
            self._otel_pipeline_passport = passport()
            return original(self)

        return with_passport

    def after_fork(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def with_farewell() -> Any:
            result = original()
            from multiprocessing.util import Finalize  # noqa: PLC0415 - in the child, where it is loaded already

            Finalize(None, child_ends, exitpriority=0)
            return result

        return with_farewell

    _replace(module.BaseProcess, "start", start)
    original = module.BaseProcess._after_fork
    _undo.append((module.BaseProcess, "_after_fork", staticmethod(original)))
    module.BaseProcess._after_fork = staticmethod(after_fork(original))


def _follow_pool(module: ModuleType) -> None:
    def carrying(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            # ThreadPool is a Pool too; its threads get the context without pickling, and a carrier does as well there.
            return original(self, _carried(func), *args, **kwargs)

        return submit

    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        _replace(module.Pool, name, carrying)


def _follow_executor(module: ModuleType) -> None:
    def carrying(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return original(self, _carried(fn), *args, **kwargs)

        return submit

    _replace(module.ProcessPoolExecutor, "submit", carrying)


def _carried(function: Any) -> Any:
    variables = carrier()
    return Carried(function, variables) if variables else function
