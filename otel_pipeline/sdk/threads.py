"""The context's way into threads: each thread, and each task of a thread pool, begins where it was started."""

from __future__ import annotations

import functools
import threading
from types import MethodType
from typing import TYPE_CHECKING, Any

from otel_pipeline.instrument.context import current
from otel_pipeline.sdk.patching import replace, when_imported

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def follow() -> None:
    """Let the context go along."""
    replace(threading.Thread, "start", _starting)
    when_imported("concurrent.futures.thread", _follow_executor)


def here(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, to be called on another thread in the context of now."""
    context = current.get()

    def task(*args: Any, **kwargs: Any) -> Any:
        outer = current.get()
        current.set(context)
        try:
            return function(*args, **kwargs)
        finally:
            current.set(outer)

    return task


def _starting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(self: Any) -> Any:
        context, run = current.get(), self.run

        def run_here(self: Any) -> Any:
            self.__dict__.pop("run", None)  # ours, of the instance: it would keep the thread in a cycle
            current.set(context)
            return run()

        # Of the instance, so that subclasses with a run() of their own are followed too; a method, since others who
        # wrap it (Sentry) take the function out of it, and call that with the thread.
        self.run = MethodType(run_here, self)
        try:
            return original(self)
        except BaseException:
            self.__dict__.pop("run", None)
            raise

    return start


def _follow_executor(module: ModuleType) -> None:
    def submitting(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return original(self, here(fn), *args, **kwargs)

        return submit

    replace(module.ThreadPoolExecutor, "submit", submitting)
