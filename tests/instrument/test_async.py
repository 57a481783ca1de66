"""generators.md, line 8: async generators and tasks; no clock is waited for."""

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace

import otel_pipeline as op
from tests.instrument.seen import Clock, Seen, duration, span_id


@op.stage
async def aextract(rows: Any = (1, 2, 3)) -> AsyncIterator[Any]:
    for row in rows:
        await asyncio.sleep(0)
        yield row


@op.stage
async def atransform(rows: Any) -> AsyncIterator[Any]:
    async for row in rows:
        await asyncio.sleep(0)
        yield row


@op.stage
async def aload(rows: Any) -> int:
    return len([row async for row in rows])


@op.stage
def extract(rows: Any = (1, 2, 3)) -> Iterator[Any]:
    yield from rows


def test_8_async_generators_are_lazy_stages_as_well(seen: Seen) -> None:
    """Siblings below the run, counts, edges and the context between two pulls are as for generators."""

    @op.pipeline("p")
    async def main() -> int:
        before = context_api.get_current()
        rows = aextract()
        first = await rows.__anext__()
        assert context_api.get_current() is before
        return first + await aload(atransform(rows))

    assert asyncio.run(main()) == 3
    assert {seen.parent(f"stage {name}") for name in ("aextract", "atransform", "aload")} == {"run p"}
    assert seen.stage("aextract")["pipeline.records.out"] == 3
    assert seen.stage("atransform")["pipeline.records.in"] == seen.stage("aload")["pipeline.records.in"] == 2
    assert seen.stage("aload")["pipeline.stage.upstream"] == ("atransform",)


def test_8_step_time_across_awaits_less_what_was_pulled(seen: Seen, clock: Clock) -> None:
    """An async stage's own time lasts across its awaits; upstream's is not in it; the sum is the wall time."""

    @op.stage
    async def source() -> AsyncIterator[int]:
        for number in range(2):
            clock.spend(100)
            await asyncio.sleep(0)
            yield number

    @op.stage
    async def sink(rows: AsyncIterator[int]) -> None:
        async for _ in rows:
            clock.spend(10)

    async def main() -> None:
        async with op.pipeline("p"):
            clock.spend(1)
            await sink(source())

    asyncio.run(main())
    assert seen.self_times() == {"stage source": 200, "stage sink": 20, "run p": 1}
    assert seen.wait("sink") == 200


def test_8_asend_athrow_aclose(seen: Seen) -> None:
    """The async generator protocol is whole, before the first pull as well."""

    @op.stage
    async def talker() -> AsyncIterator[Any]:
        got = None
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = error.args[0]

    async def main() -> list[Any]:
        rows: Any = talker()
        heard = [await rows.asend(None), await rows.asend("a"), await rows.athrow(KeyError("b"))]
        await rows.aclose()
        with pytest.raises(StopAsyncIteration):
            await rows.__anext__()
        unused: Any = talker()
        await unused.aclose()
        other: Any = talker()
        with pytest.raises(ValueError, match="early"):
            await other.athrow(ValueError("early"))
        return heard

    assert asyncio.run(main()) == [None, "a", "b"]
    assert seen.names == ["stage talker"]
    assert seen.stage("talker")["pipeline.stage.exhausted"] is False
    assert seen.stage("talker")["pipeline.records.out"] == 3


def test_8_cancellation_in_the_middle_of_a_step(seen: Seen) -> None:
    """The stage is aborted, the run a cancellation; the task's CancelledError stays the user's; no context leaks."""
    reached = asyncio.Event

    @op.stage
    async def stuck(event: asyncio.Event) -> AsyncIterator[int]:
        event.set()
        await asyncio.Event().wait()
        yield 1

    async def job(event: asyncio.Event) -> None:
        async with op.pipeline("p"):
            async for _ in stuck(event):
                pass

    async def main() -> None:
        event = reached()
        task = asyncio.create_task(job(event))
        await event.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen.stage("stuck")["pipeline.stage.result"] == "aborted"
    assert seen.run()["pipeline.run.result"] == "cancellation"
    assert seen.one("run p").status.is_unset


def test_8_gathered_stages_cover_the_run_once(seen: Seen, clock: Clock) -> None:
    """Tasks that overlap cover their parent's time by their union: no self time is negative, sums may exceed wall."""

    @op.stage
    async def work(number: int, all_here: asyncio.Event) -> None:
        if number == 2:
            all_here.set()
        await all_here.wait()
        clock.spend(10)
        await asyncio.sleep(0)

    async def main() -> None:
        async with op.pipeline("p"):
            clock.spend(7)
            all_here = asyncio.Event()
            await asyncio.gather(*(work(number, all_here) for number in range(3)))
            clock.spend(5)

    asyncio.run(main())
    assert seen.self_times()["run p"] == 12
    assert duration(seen.one("run p")) == 42
    assert seen.self_times()["stage work"] >= 30


def test_8_a_task_that_outlives_its_stage_covers_nothing_of_its_pauses(seen: Seen, clock: Clock) -> None:
    """A task started by a lazy stage that works between the steps takes no time from what the stage did itself."""

    @op.stage
    async def background(go: asyncio.Event) -> None:
        await go.wait()
        clock.spend(1000)

    @op.stage
    async def source(go: asyncio.Event) -> AsyncIterator[int]:
        clock.spend(10)
        task = asyncio.create_task(background(go))
        yield 1
        clock.spend(20)
        yield 2
        await task

    async def main() -> None:
        go = asyncio.Event()
        async with op.pipeline("p"):
            rows = source(go)
            await rows.__anext__()
            go.set()
            for _ in range(3):
                await asyncio.sleep(0)
            async for _ in rows:
                pass

    asyncio.run(main())
    assert seen.self_times()["stage source"] == 30


@pytest.mark.parametrize("as_stage", [True, False])
def test_8_a_task_covers_its_stage_only_while_both_are_busy(seen: Seen, clock: Clock, as_stage: bool) -> None:
    """A task that begins within a step and goes on between two: only what overlaps the steps is taken off them."""

    @op.stage
    def pulled() -> Iterator[int]:
        clock.spend(1000)
        yield 1

    async def background(go: asyncio.Event) -> None:
        clock.spend(5)
        await go.wait()
        list(pulled())

    @op.stage
    async def source(go: asyncio.Event) -> AsyncIterator[int]:
        clock.spend(10)
        task = asyncio.create_task((op.stage("background")(background) if as_stage else background)(go))
        await asyncio.sleep(0)
        yield 1
        clock.spend(20)
        yield 2
        await task

    async def main() -> None:
        go = asyncio.Event()
        async with op.pipeline("p"):
            rows = source(go)
            await rows.__anext__()
            clock.spend(300)
            go.set()
            for _ in range(3):
                await asyncio.sleep(0)
            async for _ in rows:
                pass

    asyncio.run(main())
    assert seen.self_times()["stage source"] == (30 if as_stage else 35)


def test_8_a_second_anext_at_once_is_refused_and_ends_nothing(seen: Seen) -> None:
    """Two __anext__ at a time: Python's RuntimeError for the second; the stage goes on."""

    async def main() -> None:
        gate = asyncio.Event()

        @op.stage
        async def slow() -> AsyncIterator[int]:
            await gate.wait()
            yield 1

        rows = slow()
        first = asyncio.ensure_future(rows.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            await rows.__anext__()
        gate.set()
        assert await first == 1
        assert [row async for row in rows] == []

    asyncio.run(main())
    assert seen.stage("slow")["pipeline.stage.result"] == "success"


def test_8_a_coroutine_that_is_closed_from_elsewhere_leaves_the_context_there_alone(seen: Seen) -> None:
    """A suspended coroutine or step that is closed by whoever holds it restores nothing in the closer's context."""

    @op.stage
    async def half() -> None:
        await suspended()

    @op.stage
    async def source() -> AsyncIterator[int]:
        await suspended()
        yield 1

    class suspended:
        def __await__(self) -> Iterator[None]:
            yield

    before = context_api.get_current()
    for coroutine in (half(), source().__anext__()):
        inside: Any = coroutine
        driver = threading.Thread(target=inside.send, args=(None,))  # starts it in a context of its own
        driver.start()
        driver.join()
        with op.stage("closer") as closer:
            inside.close()
            assert op.current_stage() is closer
        assert context_api.get_current() is before
    assert {span.attributes["pipeline.stage.result"] for span in seen.spans} == {"success"}  # type: ignore[index]


def test_8_track_counts_async_iterables(seen: Seen) -> None:
    """Falsy rows, none, an early break and an exception: counted is what was handed on."""

    async def source(*rows: Any) -> AsyncIterator[Any]:
        for row in rows:
            if isinstance(row, Exception):
                raise row
            yield row

    class Both:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def __aiter__(self) -> AsyncIterator[int]:
            return source(1, 2)

    async def main() -> None:
        async with op.stage("s") as stage:
            assert [row async for row in stage.track(source(0, None, ""))] == [0, None, ""]
            assert [row async for row in stage.track(source())] == []
            async with contextlib.aclosing(stage.track(source(1, 2, 3))) as rows:  # type: ignore[type-var]
                async for _ in rows:
                    break
            with pytest.raises(OSError, match="gone"):
                async for _ in stage.track(source(1, OSError("gone"))):
                    pass
            both: Any = stage.track(Both())  # type: ignore[call-overload]
            assert list(both) == [1]
            assert [row async for row in both] == [1, 2]

    asyncio.run(main())
    assert seen.stage("s")["pipeline.records.in"] == 3 + 0 + 1 + 1 + 1 + 2


def test_8_a_dropped_async_stage_ends_as_stopped_early(seen: Seen) -> None:
    """Half consumed and dropped inside a loop: success, exhausted = false, by the end of the run."""

    @op.pipeline("p")
    async def main() -> None:
        async for _ in aextract():
            break
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen.stage("aextract")["pipeline.stage.result"] == "success"
    assert seen.stage("aextract")["pipeline.stage.exhausted"] is False


def test_8_coroutine_pipelines_that_return_an_iterator_are_extended(seen: Seen) -> None:
    """What line 7 says holds for coroutine functions, and for functions that return a coroutine."""

    @op.pipeline("p")
    async def flow() -> Any:
        return aextract()

    @op.pipeline("q")
    def indirect() -> Any:
        async def inner() -> Any:
            return aextract()

        return inner()

    async def main() -> None:
        for make in (flow, indirect):
            rows = await make()
            assert op.current_run().name == "detached"
            assert [row async for row in rows] == [1, 2, 3]

    asyncio.run(main())
    runs = {span_id(span): span.name for span in seen.spans if span.name.startswith("run")}
    assert [runs[span.parent.span_id] for span in seen.all("stage aextract")] == ["run p", "run q"]  # type: ignore[union-attr]
    for stage in seen.all("stage aextract"):
        assert stage.end_time <= max(run.end_time for run in seen.spans if run.name.startswith("run"))  # type: ignore[operator,type-var]
    assert "pipeline.stage.late" not in (seen.all("stage aextract")[0].attributes or {})


def test_8_spans_open_across_an_async_yield_nest_rightly(seen: Seen) -> None:
    """As in line 2, for async generators."""
    tracer = trace.get_tracer("user")

    @op.stage
    async def paged() -> AsyncIterator[int]:
        with tracer.start_as_current_span("page"):
            yield 1
            with tracer.start_as_current_span("request"):
                await asyncio.sleep(0)
            yield 2

    async def main() -> None:
        with op.pipeline("p"):
            async for _ in paged():
                with tracer.start_as_current_span("mine"):
                    await asyncio.sleep(0)

    asyncio.run(main())
    assert (seen.parent("page"), seen.parent("request")) == ("stage paged", "page")
    assert {span.parent.span_id for span in seen.all("mine")} == {span_id(seen.one("run p"))}  # type: ignore[union-attr]
