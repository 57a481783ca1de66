"""A frame with a span: what runs and stages have in common.

::

    begin(outer) ─► span open, `inner` is the context for its code ─► end(error)
         ▲                                                              │
         └── with / async with / a decorated call / the first pull of a lazy stage

A scope ends once, in the process that began it: a forked child that unwinds through its parent's ``with`` blocks ends
nothing. User code is never raised into.
"""

from __future__ import annotations

import os
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from otel_pipeline.instrument import results
from otel_pipeline.instrument.context import FRAME_KEY, current, inside
from otel_pipeline.instrument.frame import Frame
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue
    from typing_extensions import Self

SCOPE_NAME = "otel_pipeline"


class Scope(Frame):
    """A run or a stage."""

    __slots__ = (
        "_before",
        "_covers",
        "attributes",
        "began",
        "ended",
        "inner",
        "name",
        "outlives",
        "pid",
        "span",
        "started",
    )

    def __init__(self, name: str, attributes: dict[str, AttributeValue] | None = None) -> None:
        super().__init__()
        self.name = name
        self.attributes = attributes
        self.pid = os.getpid()
        self.span: Span = trace.INVALID_SPAN
        self.inner: Context | None = None
        self.started = 0  # nanoseconds since the epoch; 0: not yet
        self.ended = False
        self.outlives = False  # its end is not that of the call that began it: an iterator was handed out
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
        self.started = time_ns() - (now - self.began)
        self.span = self.start_span(outer, self.started)
        self.inner = inner = inside(self, self.span, outer)
        return inner

    def end(self, error: BaseException | None, exhausted: bool | None = None, at: int | None = None) -> None:
        """End it, the first time that it is asked to, in the process that began it.

        It ends when its code was left last, or ``at`` a time of the steady clock. On the wall clock that is the start
        plus what the steady clock counted: a wall clock set back makes no negative durations.
        """
        if self.ended or not self.started or self.pid != os.getpid():
            return
        self.ended = True
        at = at or self.left or perf_counter_ns()
        self.left = max(at, self.began)
        self.close(error, exhausted, self.started + self.left - self.began)

    def __enter__(self) -> Self:
        self._before = outer = current.get()
        # Entered before its span is made, so that the span's duration is the time that it was busy, to the nanosecond.
        self._covers = self.enter(outer.get(FRAME_KEY))  # type: ignore[arg-type]
        current.set(self.begin(outer))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave(self._covers)
        current.set(self._before or Context())
        if error is not None or not self.outlives:
            self.end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exception: Any) -> None:
        self.__exit__(*exception)

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
