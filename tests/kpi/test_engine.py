"""The KPIs are those of what happened, however the events arrive."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline.kpi import silence
from otel_pipeline.kpi.engine import Series
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.state import figures
from otel_pipeline.model import Check, Dataset, Records, Run, Stage
from otel_pipeline.semconv.catalogue import CATALOGUE
from tests.kpi.events import NOW, SECOND, deliveries, histories, patient, run, seen, stage

if TYPE_CHECKING:
    from otel_pipeline.kpi.values import Value

DAY = 86_400 * SECOND


class KilledError(Exception):
    """The process is gone in the middle of a transaction."""


def engine_of(*values: Value) -> MemoryEngine:
    engine = MemoryEngine()
    engine.consume(values)
    return engine


@patient
@given(st.data())
def test_any_arrival_of_any_history_gives_its_kpis(data: st.DataObject) -> None:
    """Any order, repeats, and deaths between consuming, committing and acknowledging change no series."""
    history = data.draw(histories)
    truth, engine = engine_of(*history), MemoryEngine()
    for batch, committed in data.draw(deliveries(history)):
        if committed:
            engine.consume(batch)
            continue

        def dying(batch: list[Value] = batch) -> object:
            yield from batch
            raise KilledError

        with pytest.raises(KilledError):
            engine.consume(dying())  # type: ignore[arg-type]  # a generator that never ends well
    found = [figure for figure in engine.figures(NOW) if any(figure.numbers)]
    assert found == [figure for figure in truth.figures(NOW) if any(figure.numbers)]


@patient
@given(histories)
def test_the_kpis_are_counted_from_the_history_as_by_hand(history: list[Value]) -> None:
    """Runs by result and records by status, against sums that are made without an engine."""
    engine = engine_of(*history)
    ends: dict[tuple[str, str], Run] = {}
    for value in history:  # a lost end stands before the true one here
        if isinstance(value, Run) and (value.result != "lost" or (value.run_id, value.span_id) not in ends):
            ends[value.run_id, value.span_id] = value
        elif isinstance(value, Run):
            ends[value.run_id, value.span_id] = max(ends[value.run_id, value.span_id], value, key=lambda r: r.ended)
    last = {key: max(r.attempt for (k, _), r in ends.items() if k == key) for key, _ in ends}
    results = Counter((r.backfill, r.result) for (key, _), r in ends.items() if r.attempt == last[key])
    for (backfill, result), number in results.items():
        name = "pipeline.run.backfilled" if backfill else "pipeline.run.ended"
        assert engine.value(name, pipeline_run_result=result) == number
    counts = [engine.value(f"pipeline.run.{name}") or 0 for name in ("ended", "backfilled", "superseded")]
    assert sum(counts) == len(ends)
    stages = [value for value in history if isinstance(value, Stage)]
    for status, name in (("in", "in_"), ("out", "out"), ("failed", "failed"), ("dropped", "dropped")):
        known = [count for each in stages if (count := getattr(each.records, name)) is not None]
        assert engine.value("pipeline.stage.records", pipeline_record_status=status) == (sum(known) if known else None)
    assert engine.value("pipeline.stage.duration") == (len(stages) if stages else None)


def test_the_last_attempt_counts_and_the_others_are_kept_apart() -> None:
    """A run that failed twice and then succeeded is one success, whichever attempt arrives first."""
    attempts = [run(result=r, attempt=n, span=n) for n, r in ((1, "failure"), (2, "timeout"), (3, "success"))]
    for order in (attempts, attempts[::-1], [attempts[1], attempts[2], attempts[0]]):
        engine = engine_of(*order)
        assert engine.value("pipeline.run.ended") == 1
        assert engine.value("pipeline.run.ended", pipeline_run_result="success") == 1
        assert engine.value("pipeline.run.superseded") == 2
        assert engine.value("pipeline.run.success_rate", NOW) == 1.0
        assert engine.value("pipeline.run.duration") == 1


def test_a_backfill_is_kept_apart() -> None:
    """It is in no rate, no duration and no last success, and says nothing of how fresh and good the data are."""
    watermark, check = Dataset("t", "write", 5, watermark="2031-01-01"), Check("c", "t", passed=0, failed=9)
    old = stage("b", span=3, backfill=True, records=Records(out=5), datasets=(watermark,), checks=(check,))
    engine = engine_of(run(), old, replace(run("b", "failure", span=2, took=9), backfill=True))
    assert engine.value("pipeline.run.backfilled", pipeline_run_result="failure") == 1
    assert engine.value("pipeline.run.ended") == engine.value("pipeline.run.duration") == 1
    assert engine.value("pipeline.run.success_rate", NOW) == 1.0
    assert engine.value("pipeline.run.error_rate", NOW) == 0.0
    assert engine.value("pipeline.run.last_success", NOW) == run().ended / SECOND
    assert engine.value("pipeline.dataset.freshness", NOW) is None
    assert engine.value("pipeline.dataset.quality", NOW) is None
    assert engine.value("pipeline.stage.records") == engine.value("pipeline.dataset.records") == 5
    assert engine.value("pipeline.checks.failed") == 9


def test_an_open_backfill_is_closed_as_one() -> None:
    """Its sign of life says what it is, so that the guess that it was lost is no lost run."""
    engine = engine_of(replace(seen(), backfill=True))
    [record] = engine.ledger.runs(["r1"])["r1"]
    engine.consume([silence.closed(record)])
    assert engine.value("pipeline.run.backfilled", pipeline_run_result="lost") == 1
    assert engine.value("pipeline.run.ended") is None


def test_one_run_id_that_is_used_for_every_run_counts_each() -> None:
    """A run's identity is its span; a run id given by the user may be "daily"."""
    assert engine_of(*(run("daily", span=n) for n in range(1, 6))).value("pipeline.run.ended") == 5


def test_a_late_end_replaces_lost() -> None:
    """What the lost run has added is taken back exactly; a guess never replaces what is known."""
    lost, end = run(result="lost", took=1.25), run(took=7.5)
    for order in ([lost, end], [end, lost], [lost, end, lost, end]):
        engine = engine_of(*order)
        assert engine.value("pipeline.run.ended", pipeline_run_result="lost") == 0
        assert engine.value("pipeline.run.ended") == 1
        [duration] = [f for f in engine.figures(NOW) if f.kpi.name == "pipeline.run.duration" and f.numbers[1]]
        assert duration.numbers[0] == 7.5


def test_results_of_a_known_pipeline_exist_from_its_first_run() -> None:
    """So that its first failure is a rise from 0, which an alert can see."""
    engine = engine_of(run())
    assert engine.value("pipeline.run.ended", pipeline_run_result="failure") == 0
    assert engine.value("pipeline.run.ended", pipeline_run_result="success") == 1


def test_unknown_is_not_zero() -> None:
    """A count that nobody reported makes no series, one of zero does."""
    engine = engine_of(stage(records=Records(out=0)))
    assert engine.value("pipeline.stage.records", pipeline_record_status="out") == 0
    assert engine.value("pipeline.stage.records", pipeline_record_status="in") is None


def test_freshness_grows_by_itself_while_nothing_arrives() -> None:
    """It is counted from the newest watermark, however late an older one arrives."""
    day, before = Dataset("t", "write", watermark="2026-01-01"), Dataset("t", "write", watermark="2025-12-31")
    engine = engine_of(stage(span=1, datasets=(day,)), stage(span=2, datasets=(before,)))
    midnight = 1_767_225_600 * SECOND
    assert engine.value("pipeline.dataset.freshness", midnight + 3600 * SECOND) == 3600
    assert engine.value("pipeline.dataset.freshness", midnight + DAY) == 86_400
    assert engine.value("pipeline.dataset.freshness", midnight - DAY) == 0


def test_quality_is_that_of_the_last_run_over_all_its_stages() -> None:
    """Of several checks on one dataset in one run all records count; an older run that arrives later does not."""

    def checked(run_id: str, span: int, passed: int, failed: int, ago: int) -> Stage:
        check = Check("not_null", "t", passed=passed, failed=failed)
        return replace(stage(run_id, span=span, checks=(check,)), ended=NOW - ago * SECOND)

    engine = engine_of(checked("r2", 1, 5, 5, ago=10), checked("r2", 2, 10, 0, ago=9), checked("r1", 3, 0, 100, ago=50))
    assert engine.value("pipeline.dataset.quality") == 0.75


def test_schema_failures_are_those_of_checks_of_that_kind() -> None:
    """And checks without a dataset are counted by their name alone."""
    checks = (Check("s", "t", "schema", 1, 2), Check("n", "t", "not_null", 1, 4), Check("x", failed=8))
    engine = engine_of(stage(checks=checks))
    assert engine.value("pipeline.schema.failures") == 2
    assert engine.value("pipeline.checks.failed") == 14
    assert engine.value("pipeline.checks.failed", pipeline_dataset_name="") == 8


def test_a_run_is_active_between_its_first_sign_of_life_and_its_end() -> None:
    """And no longer when its heartbeats have stopped; the start may arrive after the end."""
    engine = engine_of(seen(ago=5))
    assert engine.value("pipeline.run.active", NOW) == 1
    assert engine.value("pipeline.run.active", NOW + 120 * SECOND) == 0
    engine.consume([run()])
    assert engine.value("pipeline.run.active", NOW) == 0
    assert engine_of(run(), seen()).value("pipeline.run.active", NOW) == 0


def test_rates_are_of_the_last_thirty_days() -> None:
    """Skipped and cancelled runs are in neither part of the success rate; the error rate is of all runs."""
    results = ("success", "success", "failure", "lost", "skip", "cancellation", "timeout", "success")
    engine = engine_of(*(run(f"r{n}", result, span=n) for n, result in enumerate(results, 1)))
    assert engine.value("pipeline.run.success_rate", NOW) == 0.5
    assert engine.value("pipeline.run.error_rate", NOW) == 3 / 8
    assert engine.value("pipeline.run.success_rate", NOW + 31 * DAY) is None
    assert engine.value("pipeline.run.last_success", NOW + 31 * DAY) is not None


def test_an_error_is_counted_where_it_was_first_seen() -> None:
    """A stage that it passed through, and the run that it ended, do not count it again."""
    error = {"error_type": "ValueError", "error_stage": "extract"}
    engine = engine_of(
        stage(name="extract", span=1, **error), stage(name="load", span=2, **error),
        replace(run(result="failure"), error_type="ValueError", error_stage="extract"),
        replace(run("r2", result="failure", span=7), error_type="OSError"),
    )  # fmt: skip
    assert engine.value("pipeline.run.errors", error_type="ValueError") == 1
    assert engine.value("pipeline.run.errors", error_type="OSError", pipeline_stage_name="") == 1


def test_what_is_older_than_the_ledger_is_late_and_not_counted() -> None:
    """Its rows are gone, so it could be the second time."""
    engine = MemoryEngine()
    assert engine.consume([run(), stage(), seen()], horizon=NOW) == {"late": 3}
    assert not engine.figures(NOW)


def test_durations_on_a_bound_are_in_the_bucket_below_it() -> None:
    """As Prometheus and OpenTelemetry have it: le means at most."""
    engine = engine_of(run("r1", took=1.0), run("r2", took=1.0000001, span=2), run("r3", took=10**6, span=3))
    [duration] = [f for f in engine.figures(NOW) if f.kpi.name == "pipeline.run.duration" and f.numbers[1]]
    _, count, *buckets = duration.numbers
    assert (count, buckets[0], buckets[1], buckets[-1]) == (3, 1, 1, 1)


@patient
@given(st.data())
def test_what_prometheus_sees_never_falls(data: st.DataObject) -> None:
    """Whatever is corrected after the fact: a counter that fell would be taken for one that began again."""
    history = data.draw(histories)
    engine, before = MemoryEngine(), dict[tuple[str, tuple[str, ...]], tuple[float, ...]]()
    for batch, _ in data.draw(deliveries(history)):
        engine.consume(batch)
        shown = figures(engine.state(NOW).rising, NOW, CATALOGUE)
        now = {(f.kpi.name, f.labels): f.numbers for f in shown if not f.kpi.derived}
        for series, numbers in before.items():
            assert all(later >= earlier for earlier, later in zip(numbers, now[series], strict=True))
        before = now


def test_a_correction_is_not_taken_for_a_fall() -> None:
    """A failed attempt that was shown stays for Prometheus, with its retry beside it; people see one success."""
    engine = engine_of(run(result="failure", attempt=1, span=1, took=3))
    engine.consume([run(result="success", attempt=2, span=2, took=5)])
    state = engine.state(NOW)
    ended = {labels[1]: numbers for (kpi, labels), numbers in state.sums.items() if kpi == "pipeline.run.ended"}
    shown = {labels[1]: numbers for (kpi, labels), numbers in state.rising.sums.items() if kpi == "pipeline.run.ended"}
    assert (ended["failure"], ended["success"]) == ([0], [1])
    assert (shown["failure"], shown["success"]) == ([1], [1])
    [duration] = [numbers for (kpi, labels), numbers in state.rising.sums.items()
                  if (kpi, labels) == ("pipeline.run.duration", ("orders", "failure"))]  # fmt: skip
    assert duration[:2] == [3 * SECOND, 1]


def test_nothing_is_taken_back_within_a_batch() -> None:
    """Attempts, and a run that was thought lost, whose ends arrive together in whatever order."""
    lost, end = run("r2", result="lost", span=3), run("r2", span=3, took=9)
    ends = [run(result="failure", attempt=1, span=1), run(result="success", attempt=2, span=2), lost, end]
    for order in (ends, ends[::-1]):
        state = engine_of(*order).state(NOW)
        assert not any(any(numbers) for numbers in state.taken.values())
        assert state.sums[Series("pipeline.run.ended", ("orders", "success"))] == [2]
