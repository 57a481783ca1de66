"""A run: one execution of a pipeline."""

from __future__ import annotations

import itertools
import os
from time import perf_counter_ns
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan

from otel_pipeline.instrument import identity, registry, results
from otel_pipeline.instrument.context import FRAME_KEY
from otel_pipeline.instrument.records import text, whole
from otel_pipeline.instrument.scope import Scope
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext
    from opentelemetry.util.types import AttributeValue

    from otel_pipeline.instrument.frame import Frame
    from otel_pipeline.instrument.stage import Stage


class Run(Scope):
    """A handle on one run, from ``current_run()`` or ``with pipeline(...) as run``.

    ``id`` is the run's id, ``name`` the pipeline's, ``attempt`` counts from 1, and
    ``backfill`` is true where old data are filled in. Where another process makes the run's
    span (the parent ``otel-pipeline run``, or the process that started the run of this worker), ``remote`` is true.
    """

    __slots__ = (
        "_numbers",
        "_skip_reason",
        "above",
        "attempt",
        "backfill",
        "claims",
        "declared",
        "id",
        "identity",
        "key",
        "not_started",
        "outcome",
        "outermost",
        "parent_id",
        "remote",
        "stages",
        "taken",
    )

    def __init__(
        self,
        name: str,
        attributes: dict[str, AttributeValue] | None = None,
        *,
        id: str | None = None,
        attempt: int = 1,
        backfill: bool = False,
        declared: str | None = None,
        identity_: SpanContext | None = None,
        remote: bool = False,
    ) -> None:
        super().__init__(name, attributes)
        self.id = id or identity.new_run_id()
        self.key = os.urandom(16).hex()  # of this object: a run id may be given by the user, twice at once
        self.attempt = whole(attempt, "attempt") or 1
        self.backfill = bool(backfill)
        self.declared = declared  # what is expected of the pipeline
        self.identity = identity_
        self.remote = remote
        self.taken = False  # a script's run: a pipeline has taken it over
        self.claims: str | None = None  # a pipeline's run: takes a script's over, under this id or (empty) the script's
        self.outermost = Context()  # where the outermost of nested runs began: how others' spans are sampled
        self.above: Context | None = None  # what its span hangs below, where that is not the current context
        self.parent_id: str | None = None
        self.stages: dict[int, Stage] = {}  # the open ones, by id of the object
        self.not_started: dict[int, str] = {}  # lazy ones that were called and never pulled, by a number of their own
        self._numbers = itertools.count()
        self.outcome: tuple[str, BaseException | None] | None = None
        self._skip_reason: str | None = None

    @property
    def run(self) -> Run:
        """Itself."""
        return self

    def skip(self, reason: str = "") -> None:
        """Say that there was nothing to do: the result becomes ``skip`` unless the run fails."""
        self._skip_reason = text(reason, "skip reason") or ""

    @property
    def skip_reason(self) -> str | None:
        """What ``skip`` was told, if it was called."""
        return self._skip_reason

    def waiting(self, name: str) -> int:
        """A lazy stage was called: the number by which it leaves ``not_started`` when it is pulled from."""
        self.not_started[number := next(self._numbers)] = name
        return number

    def _take_over(self, outer: Context) -> None:
        # The first pipeline of a script is the script's run, with its identity and owner; later ones are runs of their
        # own, in traces of their own unless the script itself was started within one.
        script, above = registry.script(), outer.get(FRAME_KEY)
        if self.claims is None or script is None or (above is not None and above is not script):
            return
        self.above = script.above
        if (taken := registry.take_script()) is not None:
            self.id = self.claims or taken.id
            self.identity = taken.identity
            self.remote = taken.remote

    def start_span(self, outer: Context, started: int) -> Span:
        """See Scope. A run whose identity was fixed before gets a span with it, or none where it is remote."""
        self._take_over(outer)
        frame: Frame | None = outer.get(FRAME_KEY)  # type: ignore[assignment]
        above = frame.run if frame is not None else None
        self.outermost = parent = outer if self.above is None else self.above
        if above is not None and above is not registry.script():
            self.outermost = above.outermost
            self.parent_id = above.id
            self.backfill = self.backfill or above.backfill
        if self.remote and self.identity is not None:
            return NonRecordingSpan(self.identity)
        # The user's come first: ours win over them, and OpenTelemetry drops the first when there are too many.
        attributes = {**(self.attributes or {}), a.PIPELINE_NAME: self.name, a.RUN_ID: self.id}
        attributes[a.RUN_ATTEMPT] = self.attempt
        if self.backfill:
            attributes[a.RUN_BACKFILL] = True
        if self.declared is not None:
            attributes[a.DECLARATION] = self.declared
        if self.parent_id is not None:
            attributes[a.RUN_PARENT_ID] = self.parent_id
        tracer = registry.tracer()
        with identity.planned(self.identity):
            return tracer.start_span(f"run {self.name}", parent, attributes=attributes, start_time=started)

    def begin(self, outer: Context) -> Context:
        """Start the run."""
        inner = super().begin(outer)
        registry.opened(self)
        return inner

    def close(self, error: BaseException | None, exhausted: bool | None, ended: int) -> None:
        """End the stages that are still open, then the run."""
        registry.end_abandoned()
        result = results.run_result(error)
        if result == "success" and self._skip_reason is not None:
            result = "skip"
        for stage in list(self.stages.values()):
            stage.sweep(self.left, failed=result not in ("success", "skip"))
        self.outcome = (result, error)
        try:
            if not self.remote:
                self._write(result, error)
                self.span.end(ended)
        finally:
            registry.closed(self)
            self.outcome = (result, None)  # the exception holds the user's frames, which may hold this run

    def cut_off(self) -> None:
        """The process ends while the run is open: success where only an iterator that it returned was not exhausted."""
        self.end(None if self.outlives else results.Aborted(), at=perf_counter_ns())

    def _write(self, result: str, error: BaseException | None) -> None:
        span = self.span
        span.set_attribute(a.RUN_RESULT, result)
        own = min(self.own_time(self.left), self.left - self.began)  # operations outside stages may overlap
        span.set_attribute(a.RUN_SELF_TIME, own / 1e9)
        if self._skip_reason:
            span.set_attribute(a.RUN_SKIP_REASON, self._skip_reason)
        if self.not_started:
            span.set_attribute(a.RUN_STAGES_NOT_STARTED, sorted(set(self.not_started.values())))
        if error is not None and result not in ("success", "skip") and not isinstance(error, results.Aborted):
            trace_id = span.get_span_context().trace_id
            first = results.known_origin(error, trace_id)
            self.write_error(error, result, first, trace=not results.recorded(error, trace_id))
            if first is None:
                results.mark(error, None, trace_id)
