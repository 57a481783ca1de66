"""What was not as expected is found, said once, and taken back when it turns out untrue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_pipeline.declaration import texts_of
from otel_pipeline.kpi.expectations import EXAMINED, LOOK_BACK_NS
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.times import iso
from tests.kpi.events import patient
from tests.kpi.expected import DAY, HOUR, MINUTE, SECOND, Runs, at, begun, declared, stage_of
from tests.kpi.histories import FIRST, lives

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_pipeline.kpi.values import Value
    from otel_pipeline.model import Run

NIGHT = "0 2 * * *"
DUE = at("2026-03-03T02:00:00")


def standing(engine: MemoryEngine, pipeline: str = "orders") -> list[tuple[str, str, bool]]:
    """Kind, subject, and whether it is open, of the breaches that were not withdrawn."""
    return [
        (noted.breach.kind, noted.breach.subject, noted.breach.resolved is None)
        for noted in engine.noted(pipeline) if noted.withdrawn is None
    ]  # fmt: skip


def kinds(engine: MemoryEngine) -> list[str]:
    return [kind for kind, _, _ in standing(engine)]


def engine_of(values: Iterable[Value], now: int, file: dict[str, str] | None = None) -> MemoryEngine:
    engine = MemoryEngine()
    engine.consume(values)
    engine.tick(now, file)
    return engine


def subject(run: Run) -> str:
    return f"{run.trace_id}-{run.span_id}"


# --- did not start, late ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("started", "found"),
    [(DUE - 11 * SECOND, True), (DUE - 10 * SECOND, False), (DUE, False), (DUE + 5 * MINUTE, False),
     (DUE + 5 * MINUTE + 1, True), (None, True)],
)  # fmt: skip
def test_a_run_starts_for_its_due_time(started: int | None, found: bool) -> None:
    """From 10 s before until 5 minutes after, where nothing else is said."""
    runs = Runs(declared(NIGHT))
    engine = engine_of([runs.run(FIRST)], DUE + 5 * MINUTE)
    assert standing(engine) == []
    if started is not None:
        engine.consume([begun(runs.run(started))])
    engine.tick(DUE + 5 * MINUTE + 1)
    is_open = started is None or started < DUE
    assert standing(engine) == ([("did_not_start", iso(DUE), is_open)] if found else [])


def test_a_due_time_is_reported_once_and_over_with_the_next_start() -> None:
    """However often it is looked at; the count stays 1."""
    runs = Runs(declared(NIGHT, start_within="1h"))
    engine = engine_of([runs.run(FIRST)], DUE + HOUR)
    for minutes in (61, 62, 90):
        engine.tick(DUE + minutes * MINUTE)
    assert standing(engine) == [("did_not_start", iso(DUE), True)]
    assert engine.value("pipeline.run.unexpected.open", pipeline_expectation="did_not_start") == 1
    engine.consume([begun(runs.run(DUE + 2 * HOUR))])
    engine.tick(DUE + 3 * HOUR)
    [noted] = engine.noted("orders")
    assert (noted.breach.since, noted.breach.resolved) == (DUE + HOUR, DUE + 2 * HOUR)
    assert engine.value("pipeline.run.unexpected", pipeline_expectation="did_not_start") == 1
    assert engine.value("pipeline.run.unexpected.open", pipeline_expectation="did_not_start") == 0


def test_of_several_missed_due_times_the_last_is_open() -> None:
    """Each is counted; the one that was judged last speaks for the pipeline."""
    engine = engine_of([Runs(declared(NIGHT)).run(FIRST)], DUE + 2 * DAY + HOUR)
    assert standing(engine) == [("did_not_start", iso(DUE + n * DAY), n == 2) for n in range(3)]


def test_a_run_that_arrives_late_from_a_queue_withdraws_it() -> None:
    """It had started in time; the count goes back, but not for Prometheus, which has seen it."""
    runs = Runs(declared(NIGHT))
    engine = engine_of([runs.run(FIRST)], DUE + HOUR)
    engine.consume([runs.run(DUE + SECOND)])
    engine.tick(DUE + 2 * HOUR)
    assert standing(engine) == []
    assert engine.noted("orders")[0].withdrawn == DUE + 2 * HOUR
    assert engine.value("pipeline.run.unexpected", pipeline_expectation="did_not_start") == 0
    [counted] = [
        numbers for series, numbers in engine.state(0).rising.sums.items()
        if series == ("pipeline.run.unexpected", ("orders", "did_not_start"))
    ]  # fmt: skip
    assert counted == [1]


def test_what_was_due_before_the_pipeline_was_known_is_not_held_against_it() -> None:
    """Neither before its first run, nor before the file named it."""
    runs = Runs(declared(NIGHT))
    assert standing(engine_of([runs.run(FIRST)], FIRST + HOUR)) == []
    file = texts_of({"orders": {"schedule": NIGHT}}, "f")
    engine = engine_of([Runs().run(FIRST)], DUE + 12 * HOUR, file)
    assert standing(engine) == []
    engine.tick(DUE + DAY + HOUR, file)
    assert standing(engine) == [("did_not_start", iso(DUE + DAY), True)]


def test_a_pipeline_that_never_ran_is_missed_where_the_file_names_it() -> None:
    """And what the file does not name any more is not."""
    file = texts_of({"orders": {"schedule": NIGHT}}, "f")
    engine = engine_of([], DUE - HOUR, file)
    engine.tick(DUE + HOUR)
    assert standing(engine) == [("did_not_start", iso(DUE), True)]
    engine.tick(DUE + 2 * HOUR, {})
    engine.tick(DUE + 3 * DAY, {})
    assert standing(engine) == [("did_not_start", iso(DUE), False)]


def test_a_processor_that_was_down_finds_what_it_missed() -> None:
    """At its next tick, for as many due times as it looks back."""
    runs = Runs(declared("*/10 * * * *"))
    first = runs.run(at("2026-03-02T00:00:01"))
    engine = engine_of([first], first.started + 3 * HOUR + MINUTE)
    assert len(standing(engine)) == 17  # the last due time is still in its grace
    engine = engine_of([first], first.started + 4 * DAY)
    assert len(standing(engine)) == EXAMINED - 1
    before = standing(engine)
    engine.tick(first.started + 4 * DAY + 10 * MINUTE)
    assert len(standing(engine)) == len(before) + 1


def test_a_schedule_is_forgotten_with_its_pipeline() -> None:
    """Where the code alone named it and no run came; what a file names is never forgotten."""
    runs, later = Runs(declared(NIGHT)), FIRST + LOOK_BACK_NS + 20 * DAY
    engine = engine_of([runs.run(FIRST)], later)
    assert len(standing(engine)) == 20
    assert not any(is_open for *_, is_open in standing(engine)[:-1])
    engine.tick(FIRST + 3 * LOOK_BACK_NS)
    assert not any(is_open for *_, is_open in standing(engine))
    file = texts_of({"orders": {"schedule": NIGHT}}, "f")
    engine = engine_of([runs.run(FIRST)], FIRST, file)
    engine.tick(FIRST + 3 * LOOK_BACK_NS)
    assert standing(engine)[-1][2]


def test_another_schedule_holds_from_the_first_run_that_names_it() -> None:
    """What was due by the former one before stays; what would be due after is not expected any more."""
    old, new = Runs(declared(NIGHT)), Runs(declared("0 12 * * *"))
    new._number = 100
    missed, noon = DUE, at("2026-03-03T12:00:00")
    values = [old.run(FIRST), new.run(noon + SECOND), new.run(noon + DAY + SECOND)]
    engine = engine_of(values, noon + 2 * DAY + HOUR)
    assert standing(engine) == [
        ("did_not_start", iso(missed), False), ("did_not_start", iso(noon + 2 * DAY), True),
    ]  # fmt: skip


def test_late_is_what_has_not_succeeded_in_time() -> None:
    """Whether it has failed, still runs, or never began; over when it has succeeded after all."""
    runs = Runs(declared(NIGHT, finish_within="4h"))
    first, open_run = runs.run(FIRST), runs.run(DUE + SECOND, took=5 * 3600)
    engine = engine_of([first, begun(open_run)], DUE + 4 * HOUR)
    assert standing(engine) == []
    engine.tick(DUE + 4 * HOUR + 1)
    assert standing(engine) == [("late", iso(DUE), True)]
    engine.consume([open_run])
    engine.tick(DUE + 6 * HOUR)
    [noted] = engine.noted("orders")
    assert noted.breach.resolved == open_run.ended
    failed = engine_of([first, runs.run(DUE, result="failure")], DUE + 5 * HOUR)
    assert standing(failed) == [("late", iso(DUE), True)]
    retried = engine_of([first, runs.run(DUE, result="failure"), runs.run(DUE + HOUR)], DUE + 5 * HOUR)
    assert standing(retried) == []


def test_a_fault_in_a_schedule_is_said_and_the_rest_goes_on() -> None:
    """Its shape was right where it was written, but there is no such zone."""
    from otel_pipeline.kpi.expectations import judged
    from otel_pipeline.kpi.verdicts import Attempt, History

    text = declared("0 2 * * * Europe/Atlantis", duration="<1s")
    found = judged(History("orders", [Attempt("a", "r", FIRST, FIRST + HOUR, "success", True, declared=text)]), DUE)
    assert [breach.kind for breach in found.breaches] == ["too_slow"]
    assert found.faults == ("orders: schedule='0 2 * * * Europe/Atlantis': there is no time zone 'Europe/Atlantis'",)


# --- each run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "took", "records", "result", "found"),
    [
        ({"duration": "1m..30m"}, 59.9, 1, "success", ["too_fast"]),
        ({"duration": "1m..30m"}, 60, 1, "success", []),
        ({"duration": "1m..30m"}, 1800.1, 1, "success", ["too_slow"]),
        ({"duration": "1m..30m"}, 1, 1, "failure", []),
        ({"duration": "1m..30m"}, 9000, 1, "timeout", ["too_slow"]),
        ({"duration": "1m..30m"}, 9000, 1, "skip", []),
        ({"duration": "1m..30m"}, 9000, 1, "cancellation", []),
        ({"duration": "1m..30m"}, 9000, 1, "lost", ["lost"]),
        ({"records": "10..20"}, 1, 9, "success", ["too_few"]),
        ({"records": "10..20"}, 1, 10, "success", []),
        ({"records": "10..20"}, 1, 21, "success", ["too_many"]),
        ({"records": "10..20"}, 1, 0, "failure", []),
        ({"records": "10..20"}, 1, None, "success", []),
        ({}, 1, 1, "lost", ["lost"]),
        ({}, 9000, 0, "success", []),
    ],
)
def test_a_run_is_within_its_bounds_or_not(
    expect: dict[str, str], took: float, records: int | None, result: str, found: list[str]
) -> None:
    """Stated bounds on both sides, by how it ended."""
    run = Runs(declared(**expect)).run(FIRST, took, result)
    stages = [stage_of(run, records)] if records is not None else []
    assert kinds(engine_of([*stages, run], FIRST + DAY)) == found


def test_a_run_that_goes_on_too_long_is_reported_before_it_ends() -> None:
    """It is the same breach when it has ended; the next good run ends it."""
    runs = Runs(declared(duration="<30m"))
    run = runs.run(FIRST, took=3600)
    engine = engine_of([begun(run)], FIRST + 29 * MINUTE)
    assert standing(engine) == []
    engine.tick(FIRST + 31 * MINUTE)
    assert standing(engine) == [("too_slow", subject(run), True)]
    assert engine.noted("orders")[0].breach.value is None
    engine.consume([run])
    engine.tick(FIRST + 2 * HOUR)
    [noted] = engine.noted("orders")
    assert (noted.breach.value, noted.breach.high) == (HOUR, 30 * MINUTE - 1)
    good = runs.run(FIRST + 3 * HOUR)
    engine.consume([good])
    engine.tick(FIRST + 4 * HOUR)
    assert engine.noted("orders")[0].breach.resolved == good.ended
    assert engine.value("pipeline.run.unexpected", pipeline_expectation="too_slow") == 1


def test_only_the_last_attempt_is_judged() -> None:
    """What was held against an earlier one is withdrawn when the next one ends."""
    runs = Runs(declared(duration="<30m"))
    slow = runs.run(FIRST, 3600, "timeout")
    retry = replace(runs.run(FIRST + HOUR), run_id=slow.run_id, attempt=2)
    engine = engine_of([slow], FIRST + HOUR)
    assert kinds(engine) == ["too_slow"]
    engine.consume([retry])
    engine.tick(FIRST + 2 * HOUR)
    assert standing(engine) == []


def test_lost_is_withdrawn_when_the_run_ends_after_all() -> None:
    """The guess was wrong."""
    runs = Runs()
    run = runs.run(FIRST)
    engine = engine_of([replace(run, result="lost")], FIRST + HOUR)
    assert standing(engine) == [("lost", subject(run), True)]
    engine.consume([run])
    engine.tick(FIRST + 2 * HOUR)
    assert standing(engine) == []


def test_too_often_is_each_run_beyond_the_most() -> None:
    """In any window; attempts after which there was another are not runs."""
    runs = Runs(declared(at_most="2/1h"))
    made = [runs.run(FIRST + minutes * MINUTE) for minutes in (0, 30, 59, 61, 200)]
    engine = engine_of(made, FIRST + DAY)
    assert standing(engine) == [("too_often", subject(made[2]), False), ("too_often", subject(made[3]), False)]
    retried = [replace(run, run_id="r", attempt=n) for n, run in enumerate(made[:4], start=1)]
    assert standing(engine_of(retried, FIRST + DAY)) == []


def test_a_success_is_due_in_each_time() -> None:
    """With or without a schedule, until the pipeline is forgotten."""
    runs = Runs(declared(every="1h"))
    made = [runs.run(FIRST), runs.run(FIRST + 30 * MINUTE), runs.run(FIRST + HOUR, result="failure")]
    engine = engine_of(made, FIRST + 91 * MINUTE)
    assert standing(engine) == []
    engine.tick(FIRST + 91 * MINUTE + 1)
    [(kind, _, is_open)] = standing(engine)
    assert (kind, is_open) == ("overdue", True)
    engine.consume([last := runs.run(FIRST + 2 * HOUR)])
    engine.tick(FIRST + 3 * HOUR)
    assert engine.noted("orders")[0].breach.resolved == last.ended


def test_the_file_wins() -> None:
    """A run is judged by what the file says from then on; what was found before stays as it is."""
    runs = Runs(declared(duration="<30m"))
    before, after = runs.run(FIRST, took=3600), runs.run(FIRST + DAY, took=3600)
    engine = engine_of([before], FIRST + 2 * HOUR)
    file = texts_of({"orders": {"expect": {"duration": "<2h"}}}, "f")
    engine.tick(FIRST + 3 * HOUR, file)
    engine.consume([after])
    engine.tick(FIRST + 2 * DAY, file)
    assert standing(engine) == [("too_slow", subject(before), False)]


# --- learned --------------------------------------------------------------------------------------------------------


def test_nothing_is_learned_before_there_are_enough_or_unless_asked_for() -> None:
    """Eight successes teach; failures do not."""
    for learn, taught, found in ((None, 20, []), ("normal", 7, []), ("normal", 8, ["too_many", "too_slow"])):
        runs = Runs(declared(**({"learn": learn} if learn else {})))
        made = [runs.run(FIRST + n * HOUR, 600) for n in range(taught)]
        made += [runs.run(FIRST + (taught + n) * HOUR, 600, "failure") for n in range(20)]
        odd = runs.run(FIRST + 50 * HOUR, 6000)
        values = [*made, odd, *(stage_of(run, 1000) for run in made), stage_of(odd, 50_000)]
        assert kinds(engine_of(values, FIRST + 60 * HOUR)) == found


def test_bounds_that_are_stated_are_not_learned() -> None:
    """Only the side that is not stated is."""
    runs = Runs(declared(learn="normal", duration="<3h"))
    made = [runs.run(FIRST + n * HOUR, 600) for n in range(10)]
    values = [*made, runs.run(FIRST + 20 * HOUR, 6000), runs.run(FIRST + 30 * HOUR, 1)]
    engine = engine_of(values, FIRST + 40 * HOUR)
    [noted] = engine.noted("orders")
    assert (noted.breach.kind, noted.breach.learned, noted.breach.high) == ("too_fast", 11, 3 * HOUR - 1)


# --- whatever the order -----------------------------------------------------------------------------------------------


@settings(patient, max_examples=60)
@given(st.data())
def test_any_order_of_arrivals_and_ticks_ends_in_the_same_breaches(data: st.DataObject) -> None:
    """What stands after the last tick, and its count, follows from what arrived and from the time of that tick."""
    history = data.draw(lives())
    last = FIRST + 10 * HOUR
    truth = engine_of(history, last)
    engine = MemoryEngine()
    repeated = data.draw(st.lists(st.sampled_from(history), max_size=4)) if history else []
    now = FIRST
    for value in data.draw(st.permutations(history + repeated)):
        engine.consume([value])
        if data.draw(st.booleans()):
            now += data.draw(st.integers(0, 40)) * MINUTE
            engine.tick(min(now, last))
    engine.tick(last)
    assert [noted.breach for noted in engine.noted("orders") if noted.withdrawn is None] == [
        noted.breach for noted in truth.noted("orders")
    ]
    for figure in truth.figures(last):
        if figure.kpi.name == "pipeline.run.unexpected":
            what = figure.labels[1]
            assert engine.value("pipeline.run.unexpected", pipeline_expectation=what) == figure.numbers[0]
            still = engine.value("pipeline.run.unexpected.open", pipeline_expectation=what)
            assert still == truth.value("pipeline.run.unexpected.open", pipeline_expectation=what)
    assert engine.tick(last) == []
