"""generators.md, lines 1 to 7, for generators; each test is named after the line that it shows."""

import contextlib
import contextvars
import gc
import inspect
import itertools
import logging
import sqlite3
import sys
import threading
from collections.abc import Iterator
from types import GeneratorType
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace

import otel_pipeline as op
from otel_pipeline.instrument import registry
from tests.instrument.seen import Clock, Seen, duration


@op.stage
def extract(rows: Any = (1, 2, 3)) -> Iterator[Any]:
    yield from rows


@op.stage
def transform(rows: Any) -> Iterator[Any]:
    for row in rows:
        yield row


@op.stage
def load(rows: Any) -> int:
    return sum(1 for _ in rows)


@op.pipeline("p")
def etl() -> int:
    return load(transform(extract()))


# --- 1: the tree ----------------------------------------------------------------------------------------------------


def test_1_lazy_stages_are_siblings_below_the_run(seen: Seen) -> None:
    """`load(transform(extract()))` gives one run with three stages directly below it, whoever pulls from whom."""
    assert etl() == 3
    assert seen.names == ["run p", "stage extract", "stage load", "stage transform"]
    assert {seen.parent(f"stage {name}") for name in ("extract", "transform", "load")} == {"run p"}
    assert seen.parent("run p") is None


def test_1_the_parent_is_the_context_at_the_call(seen: Seen) -> None:
    """A lazy stage called inside another stage and pulled from elsewhere is a child of where it was called."""
    with op.pipeline("p"):
        with op.stage("plan"):
            rows = extract()
        with op.stage("work"):
            list(rows)
    assert seen.parent("stage extract") == "stage plan"


def test_1_a_stage_starts_at_its_first_pull_and_ends_at_exhaustion(seen: Seen, clock: Clock) -> None:
    """Time before the first pull and after the last is not the stage's: its bar is as long as its work."""

    @op.stage
    def timed() -> Iterator[int]:
        clock.spend(10)
        yield 1
        clock.spend(20)

    with op.pipeline("p"):
        rows = timed()
        clock.spend(1000)
        for _ in rows:
            clock.spend(5)
        clock.spend(1000)
    assert duration(seen.one("stage timed")) == 35
    assert duration(seen.one("run p")) == 2035


def test_1_bars_overlap(seen: Seen) -> None:
    """Upstream starts after and ends before the stage that pulls from it, both within the run."""
    etl()
    outer, inner = seen.one("stage transform"), seen.one("stage extract")
    assert outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time  # type: ignore[operator]


@pytest.mark.parametrize("how", ["exception", "close", "end of the run"])
def test_1_a_stage_ends_when_its_generator_does_or_the_run(seen: Seen, how: str) -> None:
    """Exception, close and the end of the run end a stage as exhaustion does."""

    @op.stage
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with op.pipeline("p"):
        rows = source()
        next(rows)
        assert seen.names == []
        if how == "exception":
            with pytest.raises(ValueError, match="no more"):
                next(rows)
        elif how == "close":
            rows.close()  # type: ignore[attr-defined]
        assert seen.names == ([] if how == "end of the run" else ["stage source"])
    assert seen.names == ["run p", "stage source"]
    assert rows is not None


def test_1_never_pulled_is_no_span_and_listed_as_not_started(seen: Seen) -> None:
    """A stage that was called and never pulled from has no span; the run lists its name, also of those dropped."""
    with op.pipeline("p"):
        for _ in range(3):
            extract()  # dropped at once: the next one may live at the same address
        kept = transform(extract())
        list(extract([]))
    assert kept is not None
    assert seen.names == ["run p", "stage extract"]
    assert seen.run()["pipeline.run.stages.not_started"] == ("extract", "transform")


@pytest.mark.parametrize("how", ["close", "throw"])
def test_1_closed_before_the_first_pull_is_not_started(seen: Seen, how: str) -> None:
    """close() and throw() before the first pull end the generator and start no stage, then or later."""
    with op.pipeline("p"):
        rows: Any = extract()
        if how == "close":
            assert rows.close() is None
        else:
            with pytest.raises(KeyError):
                rows.throw(KeyError("early"))
        assert list(rows) == []
    assert seen.names == ["run p"]
    assert seen.run()["pipeline.run.stages.not_started"] == ("extract",)


# --- 2: the context -------------------------------------------------------------------------------------------------


def test_2_nothing_leaks_into_the_consumer_between_two_pulls(seen: Seen) -> None:
    """Between pulls the context is the consumer's very own object; its spans are no children of the stage."""
    with op.pipeline("p"):
        before = context_api.get_current()
        for _ in transform(extract()):
            assert context_api.get_current() is before
            with trace.get_tracer("user").start_as_current_span("consumer"):
                pass
    assert all(span.parent.span_id == seen.one("run p").context.span_id for span in seen.all("consumer"))  # type: ignore[union-attr]


def test_2_spans_that_the_body_holds_open_across_a_yield_nest_rightly(seen: Seen) -> None:
    """A span around a yield is below the stage, what the body does in it below the span, the consumer's below neither."""
    tracer = trace.get_tracer("user")

    @op.stage
    def paged() -> Iterator[int]:
        with tracer.start_as_current_span("page"):
            yield 1
            with tracer.start_as_current_span("request"):
                pass
            yield 2

    with op.pipeline("p"):
        for _ in paged():
            with tracer.start_as_current_span("mine"):
                pass
    assert seen.parent("page") == "stage paged"
    assert seen.parent("request") == "page"
    assert {span.parent.span_id for span in seen.all("mine")} == {seen.one("run p").context.span_id}  # type: ignore[union-attr]


def test_2_other_context_variables_of_the_user_are_not_frozen() -> None:
    """What the consumer sets between pulls the body sees, and the other way round: only OpenTelemetry's is swapped."""
    color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")
    met = []

    @op.stage
    def source() -> Iterator[int]:
        for number in range(2):
            met.append(color.get())
            color.set(f"body {number}")
            yield number

    with op.pipeline("p"):
        color.set("consumer")
        for _ in source():
            met.append(color.get())
    assert met == ["consumer", "body 0", "body 0", "body 1"]


def test_2_the_generator_protocol_is_whole(seen: Seen) -> None:
    """send, throw, close, and the value of `yield from` work as with the plain generator, and count as steps."""

    def plain() -> Iterator[Any]:
        got = None
        while got != "stop":
            try:
                got = yield got  # type: ignore[misc]
            except KeyError as error:
                got = error.args[0]
        return "value"

    def talk(make: Any) -> list[Any]:
        rows, heard = make(), []

        def whole() -> Iterator[Any]:
            heard.append((yield from rows))

        outer: Any = whole()
        heard += [next(outer), outer.send("a"), outer.throw(KeyError("b"))]
        with pytest.raises(StopIteration):
            outer.send("stop")
        return heard

    with op.pipeline("p"):
        assert talk(op.stage("talker")(plain)) == talk(plain) == [None, "a", "b", "value"]
    assert seen.stage("talker")["pipeline.records.out"] == 3
    assert "pipeline.stage.exhausted" not in seen.stage("talker")


def test_2_close_returns_what_a_generators_does(seen: Seen) -> None:
    """From Python 3.13 on close() returns the generator's value; before, None."""

    def plain() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            return "value"

    def closed(make: Any) -> Any:
        rows = make()
        next(rows)
        return rows.close()

    assert closed(op.stage("s")(plain)) == closed(plain) == ("value" if sys.version_info >= (3, 13) else None)
    assert seen.stage("s")["pipeline.stage.exhausted"] is False


def test_2_contextmanager_works_on_a_decorated_generator(seen: Seen) -> None:
    """contextlib.contextmanager: the block runs outside the stage; its exception goes through the body and back."""

    @contextlib.contextmanager
    @op.stage
    def resource() -> Iterator[str]:
        try:
            yield "open"
        except KeyError:
            pass

    with op.pipeline("p"):
        with resource() as state:
            assert state == "open"
            assert op.current_stage().name == "detached"
        with resource():
            raise KeyError("swallowed by the body")
        with pytest.raises(ValueError, match="mine"), resource():
            raise ValueError("mine")
    assert [span.attributes["pipeline.stage.result"] for span in seen.all("stage resource")] == [  # type: ignore[index]
        "success",
        "success",
        "failure",
    ]


def test_2_what_inspect_says_is_pinned() -> None:
    """The wrapper is no GeneratorType and no generator function: pytest fixtures take it for a plain function."""
    rows = extract()
    assert not isinstance(rows, GeneratorType)
    assert not inspect.isgenerator(rows)
    assert not inspect.isgeneratorfunction(extract)
    assert isinstance(rows, Iterator)
    assert inspect.isgeneratorfunction(inspect.unwrap(extract))
    assert inspect.getgeneratorstate(inspect.unwrap(extract)()) == "GEN_CREATED"
    rows.close()  # type: ignore[attr-defined]


def test_2_a_reentrant_pull_is_refused_as_by_a_generator_and_ends_nothing(seen: Seen) -> None:
    """A generator that pulls from itself gets Python's ValueError; its stage goes on and ends once."""
    box: list[Any] = []

    @op.stage
    def snake() -> Iterator[str]:
        with pytest.raises(ValueError, match="already executing"):
            next(box[0])
        with pytest.raises(ValueError, match="already executing"):
            box[0].close()
        yield "alive"

    with op.pipeline("p"):
        box.append(snake())
        assert list(box[0]) == ["alive"]
    assert seen.stage("snake")["pipeline.stage.result"] == "success"
    assert seen.stage("snake")["pipeline.records.out"] == 1


# --- 3: current_stage() ---------------------------------------------------------------------------------------------


def test_3_current_stage_is_the_one_whose_body_is_executing() -> None:
    """In a body it is that stage; between two pulls the consumer's; outside any, a detached one that takes anything."""
    met: list[str] = []

    @op.stage
    def inner() -> Iterator[int]:
        met.append(op.current_stage().name)
        yield 1
        met.append(op.current_stage().name)

    @op.stage
    def outer(rows: Any) -> Iterator[int]:
        for row in rows:
            met.append(op.current_stage().name)
            yield row

    with op.pipeline("p"):
        assert list(outer(inner())) == [1]
        met.append(op.current_stage().name)
    assert met == ["inner", "outer", "inner", "detached"]


def test_3_a_handle_works_anywhere(seen: Seen) -> None:
    """A Stage handle works from the consumer, from another thread, and after the stage ended (on no span then)."""
    with op.pipeline("p"):
        with op.stage("s") as handle:
            thread = threading.Thread(target=lambda: handle.add(dropped=2))
            thread.start()
            thread.join()
        handle.add(dropped=5)
    assert seen.stage("s")["pipeline.records.dropped"] == 2
    assert handle.records == {"dropped": 7}


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
