"""Which spans are recorded: ours always; those of others as their sampler says, and not without bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import get_current_span

from otel_pipeline.instrument.context import FRAME_KEY
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
        self._limit = limit

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
        frame = parent_context.get(FRAME_KEY) if parent_context is not None else None
        if isinstance(frame, Stage):
            if frame.others >= self._limit:
                frame.others_dropped += 1
                return SamplingResult(Decision.DROP)
            frame.others += 1
        if isinstance(frame, Scope) and get_current_span(parent_context) is frame.span:
            parent_context = frame.run.outermost if frame.run is not None else Context()
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        """What it is, for people."""
        return f"PipelineSampler{{{self._inner.get_description()}}}"


def install(provider: TracerProvider, limit: int) -> None:
    """Wrap the sampler of ``provider``, also for the tracers that it has handed out."""
    if isinstance(provider.sampler, PipelineSampler):
        return
    provider.sampler = wrapped = PipelineSampler(provider.sampler, limit)
    for tracer in getattr(provider, "_tracers", {}).values():
        tracer.sampler = wrapped
