"""The context's way into threads and processes that the program starts.

=========================  =======================================================================================
Thread, ThreadPoolExecutor the thread, or each task, begins in the context of the call that started or submitted it
subprocess                 the carrier is added to the child's environment (``TRACEPARENT`` and whose run it is)
multiprocessing            a *passport* on the ``Process``: a spawned child that unpickles it is set up like its parent
Pool, ProcessPoolExecutor  each task carries the context of the call that submitted it
=========================  =======================================================================================

What such a child ends is stored before it goes: multiprocessing's children skip ``atexit``.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_pipeline.instrument.context import PARENT_RUN, TRACEPARENT, TRACESTATE, carrier
from otel_pipeline.sdk import patching, pools, threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def follow(passport: Callable[[], object], child_ends: Callable[[], None], patience: Callable[[], float]) -> None:
    """Let the context go along.

    ``passport`` makes what a spawned child unpickles; ``child_ends`` is called in a child at its end; a pool's workers
    have ``patience()`` seconds for that.
    """
    if patching.active():
        return
    threads.follow()
    pools.follow(patience)
    patching.replace(subprocess.Popen, "__init__", functools.partial(_popen, os.environ.get(TRACEPARENT)))
    patching.when_imported("multiprocessing.process", lambda module: _follow_processes(module, passport, child_ends))


def _popen(inherited: str | None, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> Any:
        # `env` by position would be the eleventh argument: nobody does, and then it is left as it is.
        if len(args) < 11 and (variables := carrier()):
            kwargs["env"] = _environment(kwargs.get("env"), variables, inherited)
        return original(self, *args, **kwargs)

    return init


def _environment(given: Any, variables: Mapping[str, str], inherited: str | None) -> Any:
    """What a child gets as ``env``: ours on top, unless the program itself says which trace the child belongs to.

    A copy of ``os.environ`` with what this process has ``inherited`` says nothing.
    """
    there = os.environ if given is None else given
    if not isinstance(there, Mapping) or os.fsencode(TRACEPARENT) in list(there):
        return given
    if there.get(TRACEPARENT) not in (None, inherited):
        return given
    stale = (TRACEPARENT, TRACESTATE, PARENT_RUN)
    return {name: value for name, value in there.items() if name not in stale} | dict(variables)


def _follow_processes(module: ModuleType, passport: Callable[[], object], child_ends: Callable[[], None]) -> None:
    def starting(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def start(self: Any) -> Any:
            self._otel_pipeline_passport = passport()
            return original(self)

        return start

    def beginning(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def after_fork() -> Any:
            result = original()
            from multiprocessing.util import Finalize  # noqa: PLC0415 - in the child, where it is loaded already

            Finalize(None, child_ends, exitpriority=0)
            return result

        return after_fork

    patching.replace(module.BaseProcess, "start", starting)
    patching.replace(module.BaseProcess, "_after_fork", beginning)
