"""Which spans are recorded: ours always; those of others as their sampler says, and not without bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import get_current_span

from otel_pipeline.instrument.context import FRAME_KEY
from otel_pipeline.instrument.run import Run
from otel_pipeline.instrument.scope import Scope
from otel_pipeline.instrument.stage import Stage
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes


class PipelineSampler(Sampler):
    """Wraps the sampler that was configured.

    Run and stage spans are recorded whatever ``inner`` decides; below them it is asked as if they were not there: a
    parent-based sampler would otherwise see a sampled parent everywhere. Of the other spans below one stage the first
    ``limit`` are recorded and the rest counted on the stage.
    """

    def __init__(self, inner: Sampler, limit: int) -> None:
        self._inner = inner
        self.limit = limit

    def should_sample(  # noqa: PLR0917 - OpenTelemetry's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See the class."""
        ours = attributes is not None and (a.STAGE_NAME in attributes or a.RUN_ID in attributes)
        if ours:
            state = get_current_span(parent_context).get_span_context().trace_state
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        context = get_current() if parent_context is None else parent_context
        frame = context.get(FRAME_KEY)
        if not isinstance(frame, Scope):
            return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links)
        full = isinstance(frame, Stage) and frame.others >= self.limit
        if full or _directly_below(frame, context):
            # Where the limit is reached, their parent may be one that the limit has cut, which says nothing.
            context = _outermost(frame)
        result = self._inner.should_sample(context, trace_id, name, kind, attributes, links)
        if isinstance(frame, Stage) and result.decision is not Decision.DROP:
            if full:
                frame.others_dropped += 1
                return SamplingResult(Decision.DROP)
            frame.others += 1
        return result

    def get_description(self) -> str:
        """What it is, for people."""
        return f"PipelineSampler{{{self._inner.get_description()}}}"


def _directly_below(frame: Scope, context: Context) -> bool:
    """Whether the current span is the frame's own: also that of a script's run, which is made at the run's end."""
    span = get_current_span(context).get_span_context()
    identity = frame.identity if isinstance(frame, Run) else None
    return span == frame.span.get_span_context() or span == identity


def _outermost(frame: Scope) -> Context:
    """Where the run of ``frame`` began, whose parent is nobody's of ours."""
    run = frame.run
    if run is None:
        return Context()
    return run.outermost if run.started or run.above is None else run.above


def install(provider: TracerProvider, limit: int) -> None:
    """Wrap the sampler of ``provider``, also for the tracers that it has handed out."""
    if isinstance(provider.sampler, PipelineSampler):
        provider.sampler.limit = limit
        return
    provider.sampler = wrapped = PipelineSampler(provider.sampler, limit)
    for tracer in getattr(provider, "_tracers", {}).values():
        tracer.sampler = wrapped
