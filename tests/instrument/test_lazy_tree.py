"""generators.md, lines 1 to 3: the tree, the context, current_stage(); tests are named after the line."""

import contextlib
import contextvars
import inspect
import sys
import threading
from collections.abc import Iterator
from types import GeneratorType
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace

import otel_pipeline as op
from tests.instrument.seen import Clock, Seen, duration
from tests.instrument.stages import etl, extract, transform

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
    """A span around a yield is below the stage, the body's in it below that span, the consumer's below neither."""
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
        with contextlib.suppress(KeyError):
            yield "open"

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
