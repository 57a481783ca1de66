"""A provider, a clock and the check that nothing leaks, for every test of the instrument room."""

from collections.abc import Iterator

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_pipeline.instrument import business, measuring, registry
from tests.instrument.measured import Measured
from tests.instrument.seen import Clock, Seen

_CLOCKED = ("crawl", "frame", "lazy", "registry", "run", "scope", "timing")


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


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Measured]:
    """What is measured, on a meter provider of its own; nothing is known from before."""
    found = Measured()
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", found.provider)
    monkeypatch.setattr(measuring, "_receiver", measuring._Receiver())
    monkeypatch.setattr(business, "_known", {})
    monkeypatch.setattr(business, "_spellings", {})
    monkeypatch.setattr(measuring, "levels", {})
    monkeypatch.setattr(measuring, "watches", [])
    measuring.reset()
    registry.judge(strict=False, count=measuring.rejected)
    yield found
    measuring.reset()
    found.provider.shutdown()
