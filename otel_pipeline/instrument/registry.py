"""The one place with global state of the instrument room: open runs, the script's run, who listens, what was said.

``reset()`` makes it new, for tests and after a fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from time import perf_counter_ns
from typing import TYPE_CHECKING, Protocol

from opentelemetry import trace

from otel_pipeline.errors import UsageError
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.trace import Tracer, TracerProvider

    from otel_pipeline.instrument.run import Run
    from otel_pipeline.instrument.scope import Scope

SCOPE_NAME = "otel_pipeline"
_log = logging.getLogger(SCOPE_NAME)


class RunListener(Protocol):
    """What the SDK room learns of runs as they happen. Neither call may raise."""

    def run_started(self, run: Run) -> None:
        """A run has started."""

    def run_ended(self, run: Run) -> None:
        """A run has ended; its span, if this process makes it, has as well."""


class _Registry:
    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.script: Run | None = None
        self.claim: Callable[[], bool] | None = None
        self.listeners: tuple[RunListener, ...] = ()
        self.abandoned: deque[Scope] = deque()
        self.said: set[str] = set()
        self.values = False
        self.strict = False
        self.misuse: Callable[[str], None] | None = None
        self.provider: TracerProvider | None = None  # instead of OpenTelemetry's global one
        self.tracer: tuple[TracerProvider, Tracer] | None = None
        self.lock = threading.Lock()


_state = _Registry()


def reset() -> None:
    """Forget everything."""
    _state.__init__()  # type: ignore[misc]


@contextlib.contextmanager
def aside(provider: TracerProvider) -> Iterator[None]:
    """For a while ``provider`` makes the spans, and nobody else knows of the runs: for tests of user code."""
    before = vars(_state).copy()
    reset()
    _state.provider = provider
    try:
        yield
    finally:
        vars(_state).update(before)


def open_runs() -> list[Run]:
    """The runs that this process has started and not ended."""
    pid = os.getpid()
    return [run for run in list(_state.runs.values()) if run.pid == pid]


def opened(run: Run) -> None:
    """A run has started."""
    _state.runs[run.key] = run
    for listener in _state.listeners:
        listener.run_started(run)


def closed(run: Run) -> None:
    """A run has ended."""
    _state.runs.pop(run.key, None)
    for listener in _state.listeners:
        listener.run_ended(run)


def listen(*listeners: RunListener) -> None:
    """Whom to tell of runs, instead of those before."""
    _state.listeners = listeners


def keep_values(wanted: bool) -> None:
    """Whether samples of failed records keep values besides their keys (setting ``record_values``)."""
    _state.values = wanted


def values_are_kept() -> bool:
    """What was told to ``keep_values``; no, where nobody has."""
    return _state.values


def set_script(run: Run, claim: Callable[[], bool] | None) -> None:
    """The run of the whole script, until a ``pipeline`` takes it over.

    ``claim`` asks for it where several processes may: at most one call among them may return true.
    """
    _state.script, _state.claim = run, claim


def script() -> Run | None:
    """The run of the whole script, taken over or not."""
    return _state.script


def take_script() -> Run | None:
    """The script's run, for the first caller; ``None`` for all later ones, and where there is none."""
    with _state.lock:
        run, claim = _state.script, _state.claim
        if run is None or run.taken:
            return None
        if claim is None and run.pid != os.getpid():
            return None
        run.taken = True
    return run if claim is None or claim() else None


def tracer() -> Tracer:
    """Our tracer of the current provider.

    Kept, since the SDK's ``get_tracer`` calls ``warnings.filterwarnings`` each time: asked for per stage, it would make
    Python show the program's own warnings again and again, which it shows once.
    """
    provider, known = _state.provider or trace.get_tracer_provider(), _state.tracer
    if known is None or known[0] is not provider:
        known = _state.tracer = (provider, provider.get_tracer(SCOPE_NAME, __version__))
    return known[1]


def abandon(scope: Scope) -> None:
    """A lazy scope was dropped while open. For ``__del__``: at any time, on any thread, so nothing is ended here."""
    scope.left = scope.left or perf_counter_ns()
    _state.abandoned.append(scope)


def end_abandoned() -> None:
    """End what ``abandon`` was told of."""
    while _state.abandoned:
        try:
            scope = _state.abandoned.popleft()
        except IndexError:
            return
        if scope.started:
            scope.end(None, exhausted=False)
        else:
            for run in scope.ends:
                run.end(None)


def judge(*, strict: bool, count: Callable[[str], None] | None) -> None:
    """How to take what cannot be used: ``strict`` raises, else it is said once, and told to ``count``."""
    _state.strict, _state.misuse = strict, count


def misused(what: str, message: str) -> None:
    """Something was given that cannot be used. Raises UsageError where the program wants to know."""
    if _state.strict:
        raise UsageError(message)
    say_once(f"misused {what}", f"otel_pipeline: {message}")
    if _state.misuse is not None:
        _state.misuse(what)


def say_once(key: str, message: str) -> None:
    """One warning per process for each ``key``: a line on stderr unless the user's logging has other plans."""
    if key not in _state.said and len(_state.said) < 1000:
        _state.said.add(key)
        with contextlib.suppress(Exception):  # a handler of the program's may raise anything
            _log.warning(message)
