"""A frame with a span: what runs and stages have in common.

::

    begin(outer) ─► span open, `inner` is the context for its code ─► end(error)
         ▲                                                              │
         └── with / async with / a decorated call / the first pull of a lazy stage

A scope ends once, in the process that began it: a forked child that unwinds through its parent's ``with`` blocks ends
nothing. User code is never raised into: where a span processor or exporter of the program raises, that is said once.
"""

from __future__ import annotations

import os
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from otel_pipeline.instrument import registry, results
from otel_pipeline.instrument.collector import shield
from otel_pipeline.instrument.context import FRAME_KEY, current, inside
from otel_pipeline.instrument.frame import Frame
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue
    from typing_extensions import Self

SCOPE_NAME = registry.SCOPE_NAME
_LONGEST_NAME = 1000
_SAME_CLOCK = 10_000_000


class Scope(Frame):
    """A run or a stage."""

    __slots__ = (
        "_before",
        "_covers",
        "attributes",
        "began",
        "ended",
        "ends",
        "inner",
        "name",
        "outlives",
        "pid",
        "span",
        "started",
    )

    def __init__(self, name: str, attributes: dict[str, AttributeValue] | None = None) -> None:
        super().__init__()
        self.name = results.clean(name)[:_LONGEST_NAME]
        self.attributes = attributes
        self.pid = os.getpid()
        self.span: Span = trace.INVALID_SPAN
        self.inner: Context | None = None
        self.started = 0  # nanoseconds since the epoch; 0: not yet
        self.ended = False
        self.outlives = False  # its end is not that of the call that began it: an iterator was handed out
        self.ends: tuple[Scope, ...] = ()  # runs that last as long as this scope, whose iterator they returned
        self.began = 0  # on the steady clock
        self._before: Context | None = None
        self._covers: Frame | None = None

    # --- for subclasses -------------------------------------------------------------------------------------------

    def start_span(self, outer: Context, started: int) -> Span:
        """Make the span."""
        raise NotImplementedError

    def close(self, error: BaseException | None, exhausted: bool | None, ended: int) -> None:
        """Write what is known onto the span and end it at ``ended``."""
        raise NotImplementedError

    # --- life -----------------------------------------------------------------------------------------------------

    def begin(self, outer: Context) -> Context:
        """Open the span below ``outer``; returns the context for the code inside."""
        now = perf_counter_ns()
        self.began = self.entered or now
        self.started = self._wall(outer, time_ns() - (now - self.began))
        self.pid = os.getpid()
        try:
            self.span = self.start_span(outer, self.started)
        except Exception as error:  # noqa: BLE001 - a sampler or span processor of the program's may raise anything
            _say(self, "begin", error)
        self.inner = inner = inside(self, self.span, outer)
        return inner

    def _wall(self, outer: Context, started: int) -> int:
        """By the run's reading of the wall clock, so that bars nest exactly, unless the clocks have come apart."""
        frame: object = outer.get(FRAME_KEY)
        run: Scope | None = frame.run if isinstance(frame, Scope) else None
        if run is None or not run.began or run.pid != os.getpid():
            return started
        by_run = run.started + self.began - run.began
        return by_run if abs(by_run - started) < _SAME_CLOCK else started

    def end(self, error: BaseException | None, exhausted: bool | None = None, at: int | None = None) -> None:
        """End it, the first time that it is asked to, in the process that began it.

        It ends when its code was left last, or ``at`` a time of the steady clock. On the wall clock that is the start
        plus what the steady clock counted: a wall clock set back makes no negative durations.
        """
        if not self.started or self.pid != os.getpid():
            return
        if self.ended:
            return
        self.ended = True  # nothing is called between the question and this: no other thread gets in between
        at = at or self.left or perf_counter_ns()
        self.left = max(at, self.began)
        try:
            self.close(error, exhausted, self.started + self.left - self.began)
        except Exception as wrong:  # noqa: BLE001 - as in begin
            _say(self, "end", wrong)
        for scope in self.ends:
            scope.end(None if isinstance(error, results.Aborted) else error, at=self.left)

    def __enter__(self) -> Self:
        self._before = outer = current.get()
        # Entered before its span is made, so that the span's duration is the time that it was busy, to the nanosecond.
        self._covers = self.enter(outer.get(FRAME_KEY))  # type: ignore[arg-type]
        try:
            current.set(self.begin(outer))
        except BaseException:  # Ctrl-C, or a stack too deep
            self.leave(self._covers)
            raise
        return self

    def resume(self) -> None:
        """Enter it again, after the call that began it handed out what goes on."""
        self._before = outer = current.get()
        self._covers = self.enter(outer.get(FRAME_KEY))  # type: ignore[arg-type]
        current.set(self.inner or outer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shield()
        self.leave(self._covers)
        self._go_back()
        if error is not None or not self.outlives:
            self.end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exception: Any) -> None:
        self.__exit__(*exception)

    def _go_back(self) -> None:
        """Make the context around it the current one; where another is current, leave that as it is.

        Blocks need not end in the order in which they began: two generators with a block in each may end crosswise, and
        one that is collected ends wherever the collector runs.
        """
        frame: object = current.get().get(FRAME_KEY)
        if frame is self:
            current.set(Context() if self._before is None else self._before)
            return
        while isinstance(frame, Scope) and frame._before is not None:
            below, frame = frame, frame._before.get(FRAME_KEY)
            if frame is self:
                below._before = self._before
                return

    # --- what both write ------------------------------------------------------------------------------------------

    def write_error(self, error: BaseException, result: str, first_stage: str | None, *, trace: bool) -> None:
        """The exception on the span: its type, where it was seen first, and the event where it is to be recorded."""
        kind = results.error_type(error)
        message = results.error_message(error)
        self.span.set_attribute(a.ERROR_TYPE, kind)
        if first_stage is not None:
            self.span.set_attribute(a.ERROR_STAGE, first_stage)
        if trace:
            recorded = {
                a.EXCEPTION_TYPE: kind,
                a.EXCEPTION_MESSAGE: message,
                a.EXCEPTION_STACKTRACE: results.stacktrace(error),
            }
            self.span.add_event(events.EXCEPTION, recorded)
        if result in ("failure", "timeout", "lost"):
            self.span.set_status(Status(StatusCode.ERROR, f"{kind}: {message}"))


def _say(scope: Scope, what: str, error: Exception) -> None:
    registry.say_once(
        f"{what} scope", f"otel_pipeline: cannot {what} the span of {scope.name!r:.80}: {results.described(error)}"
    )
