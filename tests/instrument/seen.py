"""What a test saw: ended spans by name, their figures in nanoseconds, and a clock to drive them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Clock:
    """Nanoseconds that pass when the test says so, and by ``tick`` at each reading."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.tick = 0

    def __call__(self) -> int:
        """The time, as ``perf_counter_ns`` tells it."""
        self.now += self.tick
        return self.now

    def spend(self, nanoseconds: int) -> None:
        """Time passes."""
        self.now += nanoseconds


class Seen:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All of them, in the order of their ends."""
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        """Their names, sorted."""
        return sorted(span.name for span in self.spans)

    def all(self, name: str) -> list[ReadableSpan]:
        """Those of that name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one of that name."""
        (span,) = self.all(name)
        return span

    def stage(self, name: str) -> dict[str, Any]:
        """The attributes of the only stage of that name."""
        return dict(self.one(f"stage {name}").attributes or {})

    def run(self, name: str = "p") -> dict[str, Any]:
        """The attributes of the only run of that name."""
        return dict(self.one(f"run {name}").attributes or {})

    def parent(self, name: str) -> str | None:
        """The name of a span's parent."""
        above = self.one(name).parent
        if above is None:
            return None
        return next((span.name for span in self.spans if span_id(span) == above.span_id), "not ended")

    def exceptions(self, name: str) -> list[dict[str, Any]]:
        """The exception events on a span."""
        return [dict(event.attributes or {}) for event in self.one(name).events if event.name == "exception"]

    def self_times(self) -> dict[str, int]:
        """The self time of each run and stage by span name, in nanoseconds; those of one name added up."""
        found: dict[str, int] = {}
        for span in self.spans:
            attributes = span.attributes or {}
            seconds = attributes.get(a.STAGE_SELF_TIME, attributes.get(a.RUN_SELF_TIME))
            if isinstance(seconds, float):
                found[span.name] = found.get(span.name, 0) + round(seconds * 1e9)
        return found

    def wait(self, name: str) -> int:
        """How long a stage waited, in nanoseconds."""
        return round(self.stage(name).get(a.STAGE_WAIT_TIME, 0.0) * 1e9)


def span_id(span: ReadableSpan) -> int:
    """Its id."""
    assert span.context is not None
    return span.context.span_id


def duration(span: ReadableSpan) -> int:
    """From start to end, in nanoseconds."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.end_time - span.start_time
