"""A provider, a clock and the check that nothing leaks, for every test of the instrument room."""

from collections.abc import Iterator

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_pipeline.instrument import registry
from tests.instrument.seen import Clock, Seen

_CLOCKED = ("frame", "lazy", "registry", "run", "scope")


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """The spans that a test ended, on a provider of its own; after the test the context is what it was before."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The global is set once per process by its public call: other tests may have done so, and may shut theirs down.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    registry.reset()
    before = context_api.get_current()
    yield Seen(exporter)
    after = context_api.get_current()
    context_api.attach(before)
    registry.reset()
    assert after == before, "the test left its context behind"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still unless the test spends time."""
    fake = Clock()
    for module in _CLOCKED:
        monkeypatch.setattr(f"otel_pipeline.instrument.{module}.perf_counter_ns", fake)
    return fake
