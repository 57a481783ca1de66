"""``KpiSpanProcessor``: this process's run and stage spans, read into values as they end, and handed on.

::

    span ends ─► kpi/spans.py ─► Stage ─┬─► metrics.py
                                        ├─► handover.py (the parent `otel-pipeline run`, if there is one)
                                 Run ───┴─► terminal/ or notebook.py (the summary, with the run's stages)

It can be added to any SDK ``TracerProvider``. It never raises: a fault of ours costs a figure, not a pipeline.
"""

from __future__ import annotations

import contextlib
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otel_pipeline.instrument.registry import say_once
from otel_pipeline.instrument.scope import SCOPE_NAME
from otel_pipeline.queue.transport import importing
from otel_pipeline.sdk import notebook
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context

    from otel_pipeline.kpi.spans import EndedSpan, SpanEvent
    from otel_pipeline.model import Run, Stage
    from otel_pipeline.sdk.handover import Handover
    from otel_pipeline.sdk.metrics import RunMetrics
    from otel_pipeline.sdk.open_runs import OpenRuns
    from otel_pipeline.sdk.progress import Progress

# Stages kept per run for the summary: beyond, a run with a stage per record would grow without bound.
MOST_STAGES = 2000
_MOST_RUNS = 200


class KpiSpanProcessor(SpanProcessor):
    """Reads ended run and stage spans of ours; ``summarise`` is called with each run and its stages, where given."""

    def __init__(
        self,
        metrics: RunMetrics | None = None,
        handover: Handover | None = None,
        summarise: Callable[[Run, Sequence[Stage]], None] | None = None,
        open_runs: OpenRuns | None = None,
    ) -> None:
        self._open_runs = open_runs
        self._metrics = metrics
        self._handover = handover
        self.summarise = summarise
        self.progress: Progress | None = None
        self._stages: dict[str, list[Stage]] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Notes which stage is open, so that whoever closes a lost run can say where it was."""
        if (self._handover is None and self._open_runs is None) or not _ours(span):
            return
        with contextlib.suppress(Exception):
            attributes, _ = _inside(span)
            name = attributes.get(a.STAGE_NAME)
            if name is None or span.context is None:
                return
            span_id = f"{span.context.span_id:016x}"
            if self._handover is not None:
                self._handover.stage_started(span_id, str(name))
            if self._open_runs is not None:
                self._open_runs.stage_started(span_id, str(attributes.get(a.RUN_ID)), str(name))

    def on_end(self, span: ReadableSpan) -> None:
        """Reads it, if it is one of ours."""
        if not _ours(span):
            return
        try:
            kind, stage_of, run_of = _readers()
            read = _read(span, kind)
            if (stage := stage_of(read)) is not None:
                self._stage_ended(stage)
            elif (run := run_of(read)) is not None:
                self._run_ended(run)
        except Exception as error:  # noqa: BLE001 - see the module: never into the pipeline
            with contextlib.suppress(Exception):  # a handler of the user's logging may raise
                say_once("processor", f"otel_pipeline: cannot read span {span.name!r:.80}: {error!r:.200}")

    def note(self, open_runs: OpenRuns | None) -> None:
        """Note there which stages are open, from now on."""
        self._open_runs = open_runs

    def count(self, run: Run) -> None:
        """Count a run whose span another process did not come to make."""
        if self._metrics is not None:
            self._metrics.count(run)

    def _stage_ended(self, stage: Stage) -> None:
        if self._metrics is not None:
            self._metrics.count(stage)
        if self._handover is not None:
            self._handover.stage_ended(stage)
        if self.progress is not None:
            self.progress.stage_ended(stage.run_id)
        if self._open_runs is not None:
            self._open_runs.stage_ended(stage.span_id)
        if stage.run_id is None or self.summarise is None:
            return
        if stage.run_id not in self._stages and len(self._stages) >= _MOST_RUNS:
            self._stages.pop(next(iter(self._stages)))
        kept = self._stages.setdefault(stage.run_id, [])
        if len(kept) < MOST_STAGES:
            kept.append(stage)

    def _run_ended(self, run: Run) -> None:
        stages = self._stages.pop(run.run_id, [])
        if self._metrics is not None:
            self._metrics.count(run)
        if self.summarise is not None:
            self.summarise(run, stages)


def to_be_shown(summary: str, *, under_parent: bool) -> bool:
    """Whether this process prints summaries, by the setting; under ``otel-pipeline run`` the parent does."""
    if summary == "auto":
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        return not under_parent and (on_terminal or notebook.in_kernel())
    return summary == "always"


def print_summary(run: Run, stages: Sequence[Stage]) -> None:
    """The summary on stderr; in a notebook among the cell's output."""
    if notebook.in_kernel():
        notebook.show_summary(run, stages)
        return
    from otel_pipeline.terminal import print_summary as to_file  # noqa: PLC0415 - loads rich: only where it is printed

    if sys.stderr is not None:
        to_file(run, stages, sys.stderr)


def _ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and (scope.name == SCOPE_NAME or scope.name.startswith(f"{SCOPE_NAME}."))


@cache
def _readers() -> tuple[type[EndedSpan], Callable[[EndedSpan], Stage | None], Callable[[EndedSpan], Run | None]]:
    """What reads ended spans, loaded with the first of them: it would be a tenth of ``setup()``."""
    with importing():
        from otel_pipeline.kpi.spans import EndedSpan, run_of, stage_of  # noqa: PLC0415 - see above
    return EndedSpan, stage_of, run_of


def _read(span: ReadableSpan, kind: type[EndedSpan]) -> EndedSpan:
    context = span.context
    if context is None or span.start_time is None or span.end_time is None:
        raise ValueError("it has no context or times")
    attributes, events = _inside(span)
    return kind(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        started=span.start_time,
        ended=span.end_time,
        attributes=attributes,
        events=events,
        description=span.status.description,
    )


def _inside(span: ReadableSpan) -> tuple[Mapping[str, Any], Sequence[SpanEvent]]:
    """Its attributes and events, where they are: the public properties copy both, which costs more than reading them.

    Only of a span that nobody else has yet, or that has ended.
    """
    attributes, events = getattr(getattr(span, "_attributes", None), "_dict", None), getattr(span, "_events", None)
    if attributes is None or events is None:  # another SDK than those that we know
        return dict(span.attributes or {}), span.events
    return attributes, events
