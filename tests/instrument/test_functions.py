"""What can be decorated, and what stays of it; runs and stages inside, beside and outside each other."""

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import otel_pipeline as op
from otel_pipeline.instrument import registry
from otel_pipeline.instrument.context import carrier, from_carrier
from tests.instrument.seen import Seen, span_id


def plain(number: int, *, factor: int = 2) -> int:
    """Multiply."""
    return number * factor


async def coroutine(number: int, *, factor: int = 2) -> int:
    """Multiply."""
    return number * factor


def generator(number: int, *, factor: int = 2) -> Iterator[int]:
    """Multiply."""
    yield number * factor


async def async_generator(number: int, *, factor: int = 2) -> AsyncIterator[int]:
    """Multiply."""
    yield number * factor


def outcome(result: Any) -> Any:
    """What a call of one of the four gives, once it has run."""

    async def collect() -> list[Any]:
        return [each async for each in result]

    if inspect.iscoroutine(result):
        return asyncio.run(result)
    if isinstance(result, AsyncIterator):
        return asyncio.run(collect())[0]
    return next(result) if isinstance(result, Iterator) else result


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
@pytest.mark.parametrize("make", [op.stage, op.stage(), op.stage("named"), op.pipeline, op.pipeline()])
def test_a_decorated_function_looks_as_before(seen: Seen, make: Any, function: Any) -> None:
    """Name, module, doc, signature, annotations and what it gives are kept; a coroutine function stays one."""
    wrapped = make(function)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(wrapped, attribute) == getattr(function, attribute)
    assert inspect.signature(wrapped) == inspect.signature(function)
    assert inspect.iscoroutinefunction(wrapped) == inspect.iscoroutinefunction(function)
    assert wrapped.__wrapped__ is function
    assert outcome(wrapped(3, factor=5)) == 15
    registry.end_abandoned()
    expected = "named" if getattr(make, "_name", None) else function.__name__
    assert [span.name.split(" ", 1)[1] for span in seen.spans] == [expected]


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_wrong_arguments_are_the_users_type_error(seen: Seen, function: Any) -> None:
    """Python's TypeError, as without us; a lazy stage then never began."""
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        outcome(op.stage(function)(1, nonsense=1))


class Job:
    """Everything that a class can hold."""

    @op.stage
    def method(self) -> Any:
        """For the test."""
        return self

    @staticmethod
    @op.stage
    def static_outside() -> str:
        """For the test."""
        return "static"

    @op.stage
    @staticmethod
    def static_inside() -> str:
        """For the test."""
        return "static"

    @classmethod
    @op.stage
    def class_outside(cls) -> Any:
        """For the test."""
        return cls

    @op.stage
    @classmethod
    def class_inside(cls) -> Any:
        """For the test."""
        return cls

    @op.stage("call")
    def __call__(self) -> int:
        """For the test."""
        return 1


def test_methods_of_every_kind(seen: Seen) -> None:
    """Methods, static and class methods, decorated on either side, get what they always get."""
    job = Job()
    assert job.method() is job
    assert job.static_outside() == job.static_inside() == Job.static_inside() == "static"
    assert job.class_outside() is job.class_inside() is Job.class_inside() is Job
    assert job() == 1
    assert {"stage method", "stage static_inside", "stage class_inside", "stage call"} <= set(seen.names)


def test_partials_callables_and_lambdas(seen: Seen) -> None:
    """A partial is named after its function, an object after its class, a lambda as Python names it."""
    assert op.stage(functools.partial(plain, 4))() == 8
    assert list(op.stage(functools.partial(generator, 4))()) == [8]

    class Callable_:
        def __call__(self) -> int:
            return 5

    assert op.stage(Callable_())() == 5
    assert op.stage(lambda: 6)() == 6
    assert seen.names == ["stage <lambda>", "stage Callable_", "stage generator", "stage plain"]


@pytest.mark.parametrize("function", [coroutine, generator, async_generator])
def test_a_plain_function_that_returns_something_that_runs_later(seen: Seen, function: Any) -> None:
    """The stage and the run last until it has run, and it runs inside them."""

    @op.pipeline("p")
    @op.stage("s")
    def make() -> Any:
        return function(2)

    result = make()
    assert outcome(result) == 4
    del result
    registry.end_abandoned()
    assert seen.names == ["run p", "stage s"]
    assert seen.parent("stage s") == "run p"


def test_a_stage_begun_by_a_call_and_pulled_late_is_beside_its_first_part(seen: Seen) -> None:
    """A late part of a stage that a plain function began hangs where the stage does, not below it."""
    with op.pipeline("p"):
        rows = op.stage("s")(lambda: (n for n in (1, 2, 3)))()
        next(rows)
    assert list(rows) == [2, 3]
    first, second = seen.all("stage s")
    assert first.parent == second.parent


def test_reentrant_and_recursive(seen: Seen) -> None:
    """Stages and pipelines that call themselves nest; each ends once, below the one that called it."""

    @op.stage
    def walk(depth: int) -> int:
        return depth if depth == 0 else walk(depth - 1)

    @op.stage
    def tree(depth: int) -> Iterator[int]:
        yield depth
        if depth:
            yield from tree(depth - 1)

    @op.pipeline("p")
    def again(depth: int) -> None:
        walk(2)
        assert list(tree(2)) == [2, 1, 0]
        if depth:
            again(depth - 1)

    again(1)
    assert len(seen.all("run p")) == 2
    assert len(seen.all("stage walk")) == len(seen.all("stage tree")) == 6
    inner, outer = seen.all("run p")
    assert (inner.attributes or {})["pipeline.run.parent.id"] == (outer.attributes or {})["pipeline.run.id"]
    assert len({span_id(span) for span in seen.spans}) == len(seen.spans)
    assert len({span.context.trace_id for span in seen.spans if span.context}) == 1


def test_one_object_in_nested_blocks(seen: Seen) -> None:
    """`with x: with x:` gives two stages, the inner one below the outer; `with x as a` is its own scope each time."""
    x = op.stage("x")
    with x as outer, x as inner:
        assert outer is not inner
        assert op.current_stage() is inner
    first, second = seen.all("stage x")
    assert first.parent is not None
    assert first.parent.span_id == span_id(second)


def test_blocks_that_end_crosswise_leave_nothing_behind(seen: Seen) -> None:
    """Blocks in plain generators may end in any order: each span ends once, and the context is as before."""
    first, second = op.stage("first"), op.stage("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    second.__exit__(None, None, None)  # once too often: nothing
    assert seen.names == ["stage first", "stage second"]


def test_stages_outside_any_pipeline(seen: Seen) -> None:
    """They are spans of their own, without a run."""
    with op.stage("alone"):
        assert op.current_run().name == "detached"
    assert "pipeline.run.id" not in seen.stage("alone")
    assert seen.one("stage alone").parent is None


def test_current_run_and_stage_outside_take_everything_and_forget_it(seen: Seen) -> None:
    """Library code may report without knowing whether it is inside a pipeline."""
    op.current_stage().add(failed=1)
    assert list(op.current_stage().track([1])) == [1]
    op.current_run().skip("nothing")
    assert seen.names == []


def test_nested_pipelines(seen: Seen) -> None:
    """The inner run names the outer one; inside it no stage of the outer one is current."""
    with op.pipeline("outer") as outer, op.stage("s"), op.pipeline("inner"):
        assert op.current_stage().name == "detached"
    assert seen.run("inner")["pipeline.run.parent.id"] == outer.id
    assert seen.parent("run inner") == "stage s"


def test_a_backfill_says_so_on_its_run_and_stages_and_on_what_is_within(seen: Seen) -> None:
    """A stage arrives before its run, so it says it itself; what is no backfill says nothing."""
    with op.pipeline("old", backfill=True) as run, op.pipeline("within") as within, op.stage("load"):
        assert from_carrier(carrier())[1:] == (within.id, "within", True)
    with op.pipeline("new"), op.stage("extract"):
        assert not from_carrier(carrier()).backfill
    assert run.backfill
    for attributes in (seen.run("old"), seen.run("within"), seen.stage("load")):
        assert attributes["pipeline.run.backfill"] is True
    assert not {"pipeline.run.backfill"} & {*seen.run("new"), *seen.stage("extract")}


def test_run_ids_and_attempts(seen: Seen) -> None:
    """A scheduler may give both; else the id is a new UUID version 7, and the attempt 1."""
    with op.pipeline("p", run_id="mine:1", attempt=2) as given, op.pipeline("q") as new:
        pass
    assert (given.id, seen.run()["pipeline.run.id"], seen.run()["pipeline.run.attempt"]) == ("mine:1", "mine:1", 2)
    assert new.id[14] == "7"
    assert seen.run("q")["pipeline.run.attempt"] == 1


def test_attributes_of_the_user_go_on_the_span_and_ours_win(seen: Seen) -> None:
    """`attributes=` on both; a key of ours in them changes nothing, however many there are."""
    many = {f"key{number}": number for number in range(500)}
    with op.pipeline("p", attributes={"team": "a", "pipeline.name": "x"}), op.stage("s", attributes=many):
        pass
    assert (seen.run()["team"], seen.run()["pipeline.name"]) == ("a", "p")
    assert seen.stage("s")["pipeline.stage.name"] == "s"
    assert seen.stage("s")["pipeline.run.id"] == seen.run()["pipeline.run.id"]


@pytest.mark.parametrize("make", [op.stage, op.pipeline])
@pytest.mark.parametrize("wrong", [3, "", b"x", ["x"], object])
def test_a_wrong_name_is_a_usage_error_that_quotes_it(make: Any, wrong: Any) -> None:
    """What is neither a name nor a function says so where it is written."""
    with pytest.raises(op.UsageError) as caught:
        make(wrong)
    assert repr(wrong)[:20] in str(caught.value)


def test_other_misuse_is_a_usage_error_that_quotes_it() -> None:
    """An unknown kind, a class, a value that is decorated, and a block without a name."""
    with pytest.raises(op.UsageError, match=r"kind='loud' is unknown; use one of extract, transform"):
        op.stage("x", kind="loud")
    with pytest.raises(op.UsageError, match=r"stage decorates a function or is a context manager; got 5"):
        op.stage("x")(5)  # type: ignore[type-var]
    with pytest.raises(op.UsageError, match=r"got <class '.*Job'>"):
        op.stage("x")(Job)
    with pytest.raises(op.UsageError, match=r"needs a name: pipeline\('name'\)"), op.pipeline():
        pass


def test_runs_in_parallel_threads_keep_apart(seen: Seen) -> None:
    """Each thread's run has its own id, trace and stages."""

    @op.pipeline("p")
    def main() -> str:
        list(op.stage("s")(generator)(1))
        return op.current_run().id

    threads = [threading.Thread(target=main) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = {span_id(span): span for span in seen.all("run p")}
    assert len({(run.attributes or {})["pipeline.run.id"] for run in runs.values()}) == 8
    for stage in seen.all("stage s"):
        assert stage.parent is not None
        run = runs[stage.parent.span_id]
        assert (stage.attributes or {})["pipeline.run.id"] == (run.attributes or {})["pipeline.run.id"]


def test_a_span_processor_that_raises_costs_the_user_nothing(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the program's own telemetry is said once and never raised into the pipeline."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    class Broken(SpanProcessor):
        def on_start(self, *_: Any, **__: Any) -> None:
            raise OSError("start")

        def on_end(self, *_: Any) -> None:
            raise OSError("end")

    provider = TracerProvider()
    provider.add_span_processor(Broken())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    @op.pipeline("p")
    def main() -> list[int]:
        with op.stage("s"):
            return list(op.stage(generator)(4))

    assert main() == [8]
    assert registry.open_runs() == []


def test_stages_leave_pythons_warning_filters_alone(seen: Seen) -> None:
    """A warning that Python shows once is not shown again because a stage began (the SDK's get_tracer resets that)."""
    import warnings

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            with op.stage("s"):
                warnings.warn("mine", UserWarning, stacklevel=1)
    assert len(shown) <= 2  # again after the first stage at most: the tracer is made then


def test_a_script_run_is_taken_over_by_the_first_pipeline_that_begins(seen: Seen) -> None:
    """A generator pipeline that is called and never pulled from takes nothing over; the first that begins does."""
    from otel_pipeline.instrument.run import Run

    script = Run("script", id="script-id")
    registry.set_script(script, None)

    @op.pipeline("flow")
    def flow() -> Iterator[int]:
        yield 1

    unused = flow()
    assert not script.taken
    with op.pipeline("p") as run:
        assert run.id == "script-id"
    with op.pipeline("q") as second:
        assert second.id != "script-id"
    assert script.taken
    assert unused is not None
