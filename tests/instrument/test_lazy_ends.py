"""generators.md, lines 6 and 7: ends, and pipelines that return an iterator; tests are named after the line."""

import gc
import itertools
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import otel_pipeline as op
from otel_pipeline.instrument import registry
from tests.instrument.seen import Clock, Seen, duration
from tests.instrument.stages import etl, extract, load, transform

# --- 6: ends --------------------------------------------------------------------------------------------------------


def test_6_the_first_stage_to_see_an_exception_is_its_origin(seen: Seen) -> None:
    """It is recorded once, on the origin; the stages it passes through fail and name the origin."""
    with pytest.raises(ZeroDivisionError), op.pipeline("p"):
        load(transform(1 / n for n in extract([1, 0])))
    assert [len(seen.exceptions(f"stage {name}")) for name in ("transform", "load")] == [1, 0]
    assert seen.exceptions("run p") == []
    for attributes in (seen.stage("transform"), seen.stage("load"), seen.run()):
        assert attributes["pipeline.error.stage"] == "transform"
        assert attributes["error.type"] == "ZeroDivisionError"


def test_6_upstream_stages_are_swept_as_aborted_when_the_run_fails(seen: Seen) -> None:
    """What was open when the run failed ends with it: aborted, without an error of its own."""
    with pytest.raises(KeyError), op.pipeline("p"):
        rows = extract()
        for _ in rows:
            raise KeyError("mine")
    assert seen.stage("extract")["pipeline.stage.result"] == "aborted"
    assert "error.type" not in seen.stage("extract")
    assert seen.one("stage extract").status.is_unset
    assert seen.one("stage extract").end_time <= seen.one("run p").end_time  # type: ignore[operator]


@pytest.mark.parametrize("dropped", [True, False])
def test_6_a_consumer_that_stops_early_is_a_success(seen: Seen, dropped: bool) -> None:
    """exhausted = false, whether the iterator is dropped or still referenced when the run ends well."""
    with op.pipeline("p"):
        rows: Any = extract()
        next(rows)
        if dropped:
            rows = None
    assert seen.stage("extract")["pipeline.stage.result"] == "success"
    assert seen.stage("extract")["pipeline.stage.exhausted"] is False
    assert seen.stage("extract")["pipeline.records.out"] == 1


def test_6_an_exhausted_stage_does_not_say_so(seen: Seen) -> None:
    """The attribute is there only where a consumer stopped early."""
    etl()
    assert "pipeline.stage.exhausted" not in seen.stage("extract")


def test_6_generator_exit_thrown_by_hand_is_a_close(seen: Seen) -> None:
    """throw(GeneratorExit) is how some frameworks close: success, exhausted = false."""
    rows: Any = extract()
    next(rows)
    with pytest.raises(GeneratorExit):
        rows.throw(GeneratorExit())
    assert seen.stage("extract")["pipeline.stage.result"] == "success"
    assert seen.stage("extract")["pipeline.stage.exhausted"] is False


@pytest.mark.parametrize("cycle", [True, False])
def test_6_del_only_queues(seen: Seen, cycle: bool) -> None:
    """Dropping a half-consumed stage on another thread, also by the cycle collector, ends no span there and then."""
    with op.pipeline("p"):
        box: list[Any] = [extract()]
        next(box[0])
        if cycle:
            box[0] = itertools.chain(box[0], box)
        thread = threading.Thread(target=lambda: (box.clear(), gc.collect()))
        thread.start()
        thread.join()
        assert seen.names == []
        with op.stage("next"):
            assert seen.names == ["stage extract"]
    assert seen.stage("extract")["pipeline.stage.exhausted"] is False


def test_6_a_dropped_pipeline_generator_ends_its_run(seen: Seen) -> None:
    """A pipeline that is a generator and is dropped half-way is a success when the next thing starts."""

    @op.pipeline("p")
    def flow() -> Iterator[int]:
        yield from extract()

    rows: Any = flow()
    next(rows)
    del rows
    gc.collect()
    registry.end_abandoned()
    assert seen.run()["pipeline.run.result"] == "success"
    assert registry.open_runs() == []


# --- 7: pipelines that return an iterator ---------------------------------------------------------------------------


def test_7_a_returned_iterator_of_ours_extends_the_run(seen: Seen, clock: Clock) -> None:
    """The run ends when the iterator is exhausted, and is as long as it took."""

    @op.pipeline("p")
    def flow() -> Any:
        clock.spend(1)
        return transform(extract())

    rows = flow()
    clock.spend(10)
    next(rows)
    assert seen.names == []
    clock.spend(100)
    assert list(rows) == [2, 3]
    clock.spend(1000)
    assert seen.names == ["run p", "stage extract", "stage transform"]
    assert duration(seen.one("run p")) == 111
    assert seen.self_times()["run p"] == 1
    assert {seen.parent("stage extract"), seen.parent("stage transform")} == {"run p"}
    assert seen.run()["pipeline.run.result"] == "success"


def test_7_nested_pipelines_that_hand_the_iterator_on_all_end_with_it(seen: Seen) -> None:
    """An outer pipeline that returns what an inner one returned ends as well, and so does a generator pipeline."""

    @op.pipeline("inner")
    def inner() -> Any:
        return extract()

    @op.pipeline("flow")
    def flow() -> Iterator[int]:
        yield from inner()

    @op.pipeline("outer")
    def outer() -> Any:
        return flow()

    assert list(outer()) == [1, 2, 3]
    assert seen.names == ["run flow", "run inner", "run outer", "stage extract"]
    assert registry.open_runs() == []


@pytest.mark.parametrize("how", ["close", "drop", "throw", "fail"])
def test_7_the_extended_run_ends_however_the_iterator_does(seen: Seen, how: str) -> None:
    """Closed or dropped before the first pull: success. An exception in it: failure."""

    @op.pipeline("p")
    def flow() -> Any:
        return transform(1 / n for n in (1, 0))

    rows = flow()
    if how == "close":
        rows.close()
    elif how == "throw":
        with pytest.raises(KeyError):
            rows.throw(KeyError("x"))
    elif how == "fail":
        with pytest.raises(ZeroDivisionError):
            list(rows)
    del rows
    gc.collect()
    registry.end_abandoned()
    assert seen.run()["pipeline.run.result"] == ("failure" if how in ("throw", "fail") else "success")
    assert registry.open_runs() == []


def test_7_later_pulls_count_are_marked_late_and_warn_once(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """Pulled after its run ended, a stage begins anew: late, with its own counts, below the same run, one warning."""
    caplog.set_level(logging.WARNING, "otel_pipeline")
    with op.pipeline("p"):
        begun = extract()
        fresh = transform([7, 8])
        next(begun)
    assert list(begun) == [2, 3]
    assert list(fresh) == [7, 8]
    first, second = seen.all("stage extract")
    assert (first.attributes["pipeline.records.out"], second.attributes["pipeline.records.out"]) == (1, 2)  # type: ignore[index]
    assert second.attributes["pipeline.stage.late"] is True  # type: ignore[index]
    assert "pipeline.stage.late" not in (first.attributes or {})
    assert seen.stage("transform")["pipeline.stage.late"] is True
    assert seen.stage("transform")["pipeline.run.id"] == seen.run()["pipeline.run.id"]
    assert seen.run()["pipeline.run.stages.not_started"] == ("transform",)
    assert len([record for record in caplog.records if "after its run had ended" in record.message]) == 1
