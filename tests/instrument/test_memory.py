"""What has ended is let go: by runs, by the registry, by iterators; and a million pulls keep nothing."""

import gc
import tracemalloc
from collections import deque
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_pipeline as op
from otel_pipeline.instrument.lazy import LazyIterator
from otel_pipeline.instrument.stage import Stage


@pytest.fixture(autouse=True)
def _no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())


@op.stage
def extract(rows: int) -> Iterator[int]:
    yield from range(rows)


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


def test_a_run_does_not_keep_the_stages_that_have_ended() -> None:
    """After 100,000 stages of each kind the open run holds none of them."""
    before = alive(Stage), alive(LazyIterator)
    with op.pipeline("p") as run:
        shared = op.stage("block")
        for _ in range(50_000):
            with shared:
                pass
        for _ in range(25_000):
            deque(extract(1), 0)
        for _ in range(25_000):
            next(extract(2))  # dropped half-way
        deque(extract(1), 0)
        assert (alive(Stage), alive(LazyIterator)) == before
        assert not run.stages
        assert not run.not_started


def test_a_million_pulls_keep_nothing() -> None:
    """Memory after a million pulls through one stage is that after a thousand."""
    with op.pipeline("p"), op.stage("sink") as sink:
        rows = extract(1_001_000)
        for _ in range(1000):
            next(rows)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            deque(sink.track([]), 0)
            for _ in range(20_000):
                next(rows)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        deque(rows, 0)
    assert grown < 5_000
    assert sink.records["in"] == 1_001_000


def test_what_a_stage_says_many_times_stays_small() -> None:
    """100,000 counts, failures, datasets, checks and tracked iterables on one stage hold a few kilobytes."""
    with op.stage("s") as stage:
        error = ValueError("bad")
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(20_000):
                stage.add(records_in=1)
                stage.fail(error, record={"a": 1})
                stage.dataset(f"d{number}", "write", records=1)
                stage.check(f"c{number}", passed=1)
                deque(stage.track([1]), 0)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < 100_000
    assert stage.records == {"in": 40_000, "failed": 20_000}
