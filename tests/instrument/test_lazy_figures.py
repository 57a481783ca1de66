"""generators.md, lines 4 and 5: time and records; tests are named after the line."""

import contextlib
import gc
import itertools
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

import otel_pipeline as op
from tests.instrument.seen import Clock, Seen, duration
from tests.instrument.stages import etl, extract, load, transform

# --- 4: time --------------------------------------------------------------------------------------------------------


def test_4_time_is_charged_to_whoever_ran(seen: Seen, clock: Clock) -> None:
    """Self time is own code; wait is what upstream took; duration is first pull to end; the sum is the wall time."""

    @op.stage
    def source() -> Iterator[int]:
        for number in range(3):
            clock.spend(100)
            yield number

    @op.stage
    def middle(rows: Any) -> Iterator[int]:
        for row in rows:
            clock.spend(10)
            yield row

    @op.stage
    def sink(rows: Any) -> None:
        for _ in rows:
            clock.spend(1)

    with op.pipeline("p"):
        clock.spend(5000)
        sink(middle(source()))
    assert seen.self_times() == {"stage source": 300, "stage middle": 30, "stage sink": 3, "run p": 5000}
    assert (seen.wait("source"), seen.wait("middle"), seen.wait("sink")) == (0, 300, 330)
    assert duration(seen.one("run p")) == 5333


def busy_bodies(trouble: bool) -> None:
    @op.stage
    def source() -> Iterator[int]:
        with op.stage("connect"), trace.get_tracer("db").start_as_current_span("SELECT"):
            for number in range(50):
                sum(range(number))
                yield number

    @op.stage
    def middle(rows: Any) -> Iterator[int]:
        for row in rows:
            with op.stage("enrich"), sqlite3.connect(":memory:") as database:
                database.execute("select 1").fetchall()
            database.close()
            if trouble and row == 30:
                raise ValueError("trouble")
            yield row

    with op.pipeline("p"):
        for _ in middle(source()):
            sum(range(10))


@pytest.mark.parametrize("trouble", [False, True])
def test_4_self_times_add_up_to_the_wall_time_exactly(seen: Seen, trouble: bool) -> None:
    """By the real clock: self times of run and stages equal the run's duration to the nanosecond.

    With stages called per record, a stage and a database span held open across yields, and an exception.
    """
    with pytest.raises(ValueError, match="trouble") if trouble else contextlib.nullcontext():
        busy_bodies(trouble)
    assert sum(seen.self_times().values()) == duration(seen.one("run p"))
    assert min(seen.self_times().values()) >= 0


def test_4_a_stage_held_open_across_a_yield_is_not_busy_meanwhile(seen: Seen, clock: Clock) -> None:
    """`with stage("connect"): yield` in a body: the consumer's time is the consumer's, not that of connect."""

    @op.stage
    def source() -> Iterator[int]:
        clock.spend(1)
        with op.stage("connect"):
            clock.spend(20)
            yield 1
            clock.spend(20)
        clock.spend(1)

    with op.pipeline("p"):
        for _ in source():
            clock.spend(300)
    assert seen.self_times() == {"stage connect": 40, "stage source": 2, "run p": 300}
    assert seen.parent("stage connect") == "stage source"


def test_4_a_held_stage_may_go_on_on_another_thread(seen: Seen, clock: Clock) -> None:
    """A generator that is pulled by two threads in turn keeps its held stage's time right."""

    @op.stage
    def source() -> Iterator[int]:
        with op.stage("connect"):
            for number in range(3):
                clock.spend(10)
                yield number

    with op.pipeline("p"):
        rows = source()
        next(rows)
        thread = threading.Thread(target=next, args=(rows,))
        thread.start()
        thread.join()
        clock.spend(100)
        list(rows)
    assert seen.self_times()["stage connect"] == 30
    assert seen.self_times()["stage source"] == 0


def test_4_a_dropped_body_with_a_held_stage_counts_its_time_until_the_last_step(seen: Seen, clock: Clock) -> None:
    """Where the generator is collected, what it held open ends as of its last step and leaks no context."""

    @op.stage
    def source() -> Iterator[int]:
        with op.stage("connect"):
            clock.spend(10)
            yield 1

    with op.pipeline("p"):
        rows = source()
        next(rows)
        clock.spend(100)
        del rows
        gc.collect()
        assert op.current_run().name == "p"
    assert seen.self_times() == {"stage connect": 10, "stage source": 0, "run p": 100}


# --- 5: records -----------------------------------------------------------------------------------------------------


def test_5_out_is_yielded_and_in_is_pulled_with_the_edge(seen: Seen) -> None:
    """Nobody calls anything: out of upstream is in of downstream, and the edge is known."""
    etl()
    assert seen.stage("extract")["pipeline.records.out"] == 3
    assert seen.stage("transform")["pipeline.records.in"] == seen.stage("transform")["pipeline.records.out"] == 3
    assert seen.stage("load")["pipeline.records.in"] == 3
    assert "pipeline.records.in" not in seen.stage("extract")
    assert "pipeline.records.out" not in seen.stage("load")
    assert seen.stage("load")["pipeline.stage.upstream"] == ("transform",)
    assert seen.stage("transform")["pipeline.stage.upstream"] == ("extract",)


def test_5_nothing_pulled_from_an_empty_stage_is_zero_and_not_unknown(seen: Seen) -> None:
    """An empty upstream gives in = 0 and out = 0, the edge, and nothing unaccounted."""
    with op.pipeline("p"):
        load(transform(extract([])))
    assert seen.stage("transform")["pipeline.records.in"] == 0
    assert seen.stage("transform")["pipeline.records.unaccounted"] == 0
    assert seen.stage("load")["pipeline.records.in"] == 0


@pytest.mark.parametrize(
    ("rows", "taken", "counted"),
    [
        ([0, None, "", False, []], None, 5),
        ([], None, 0),
        (range(100), 3, 3),
        (iter([1, 2]), None, 2),
        ({"a": 1}, None, 1),
        ("text", None, 4),
    ],
)
def test_5_track_counts_the_rows_of_a_foreign_iterable(rows: Any, taken: int | None, counted: int) -> None:
    """Falsy rows count, empty ones are zero, an early break counts what was taken, whatever the iterable is."""
    expected = list(itertools.islice(rows, taken)) if not isinstance(rows, Iterator) else [1, 2]
    with op.stage("s") as stage:
        assert list(itertools.islice(stage.track(rows), taken)) == expected
    assert stage.records == {"in": counted}


def test_5_track_counts_until_the_source_raises() -> None:
    """The row that was never delivered is not counted, and the exception is the source's own."""

    def source() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), op.stage("s") as stage:
        list(stage.track(source()))
    assert stage.records == {"in": 1}


def test_5_several_tracked_iterables_add_up_and_a_stage_is_not_counted_twice(seen: Seen) -> None:
    """track() over many files adds; track() over a stage of ours leaves the counting to the pull."""
    with op.pipeline("p"), op.stage("s") as stage:
        for _ in range(1000):
            list(stage.track([1, 2]))
        list(stage.track(extract()))
    assert seen.stage("s")["pipeline.records.in"] == 2003


def test_5_an_explicit_out_replaces_what_was_yielded(seen: Seen) -> None:
    """A stage that yields batches says how many records it handed on: `add(records_out=…)`."""

    @op.stage
    def batches() -> Iterator[list[int]]:
        for batch in ([1, 2], [3]):
            op.current_stage().add(records_out=len(batch))
            yield batch

    list(batches())
    assert seen.stage("batches")["pipeline.records.out"] == 3


def test_5_records_are_reconciled(seen: Seen) -> None:
    """in − out − failed − dropped is unaccounted, of one-to-one stages and where asked, and of no others."""

    def body(rows: Any) -> Iterator[int]:
        for row in rows:
            if row == 0:
                op.current_stage().fail(ValueError("bad"))
            elif row == 1:
                op.current_stage().add(dropped=1, duplicate=1)
            elif row != 2:
                yield row

    with op.pipeline("p"):
        list(op.stage("filter")(body)(extract(range(10))))
        list(op.stage("asked", reconcile=True)(body)(extract(range(10))))
        list(op.stage("other")(body)(extract(range(10))))
    assert seen.stage("filter")["pipeline.records.unaccounted"] == 1
    assert seen.stage("asked")["pipeline.records.unaccounted"] == 1
    assert "pipeline.records.unaccounted" not in seen.stage("other")


def test_5_counts_from_many_threads_are_exact(seen: Seen) -> None:
    """add() and fail() on one handle from several threads lose nothing."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with op.stage("s") as stage:

            def work() -> None:
                for _ in range(2000):
                    stage.add(records_in=1)
                    stage.fail("bad")
                    stage.dataset("d", "write", records=1)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert stage.records == {"in": 8000, "failed": 8000}
    (event,) = [each for each in seen.one("stage s").events if each.name == "pipeline.dataset"]
    assert (event.attributes or {})["pipeline.dataset.records"] == 8000


# --- the wall clock -------------------------------------------------------------------------------------------------


def test_bars_nest_exactly_whatever_the_wall_clock_reads(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that is slewed by milliseconds moves no stage out of its run; one that jumps is believed."""
    jumps = iter([0, 3_000_000, -3_000_000, 3600 * 10**9])
    now = time.time_ns()
    monkeypatch.setattr("otel_pipeline.instrument.scope.time_ns", lambda: now + next(jumps))
    with op.pipeline("p"):
        for name in ("a", "b", "c"):
            with op.stage(name):
                pass
    run, (first, second, third) = seen.one("run p"), (seen.one(f"stage {name}") for name in "abc")
    assert run.start_time <= first.start_time <= first.end_time <= second.start_time <= second.end_time <= run.end_time  # type: ignore[operator]
    assert third.start_time > now + 3599 * 10**9  # type: ignore[operator]
