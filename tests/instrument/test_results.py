"""Contract §1, results: how runs and stages end, and that the user's exception stays the user's."""

import asyncio
import concurrent.futures
import contextlib
import functools
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

import otel_pipeline as op
from tests.instrument.seen import Seen

OURS = str(Path(op.__file__).parent)


class Frozen(Exception):
    """Forbids new attributes, and answers for all that it does not have with another error."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)

    def __getattr__(self, name: str) -> object:
        raise LookupError(name)


class Mute(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoBool:
    """Like an array: what == gives has no truth."""

    def __eq__(self, other: object) -> Any:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


RESULTS: list[tuple[Callable[[], BaseException | None], str, str, StatusCode]] = [
    (lambda: None, "success", "success", StatusCode.UNSET),
    (lambda: ValueError("bad"), "failure", "failure", StatusCode.ERROR),
    (KeyboardInterrupt, "cancellation", "aborted", StatusCode.UNSET),
    (lambda: SystemExit(0), "success", "success", StatusCode.UNSET),
    (lambda: SystemExit(None), "success", "success", StatusCode.UNSET),
    (lambda: SystemExit(False), "success", "success", StatusCode.UNSET),
    (lambda: SystemExit(3), "failure", "failure", StatusCode.ERROR),
    (lambda: SystemExit("text"), "failure", "failure", StatusCode.ERROR),
    (lambda: SystemExit(""), "failure", "failure", StatusCode.ERROR),
    (lambda: SystemExit(NoBool()), "failure", "failure", StatusCode.ERROR),
    (asyncio.CancelledError, "cancellation", "aborted", StatusCode.UNSET),
    (concurrent.futures.CancelledError, "cancellation", "aborted", StatusCode.UNSET),
    (TimeoutError, "timeout", "failure", StatusCode.ERROR),
    (asyncio.TimeoutError, "timeout", "failure", StatusCode.ERROR),
    (concurrent.futures.TimeoutError, "timeout", "failure", StatusCode.ERROR),
    (GeneratorExit, "success", "success", StatusCode.UNSET),
    (Frozen, "failure", "failure", StatusCode.ERROR),
    (Mute, "failure", "failure", StatusCode.ERROR),
]


def _raised(error: BaseException | None) -> None:
    if error is not None:
        raise error


def by_function(error: BaseException | None) -> None:
    op.stage("s")(_raised)(error)


def by_block(error: BaseException | None) -> None:
    with op.stage("s"):
        _raised(error)


def by_coroutine(error: BaseException | None) -> None:
    @op.stage("s")
    async def work() -> None:
        _raised(error)

    _drive(work())


def by_returned_coroutine(error: BaseException | None) -> None:
    async def work() -> None:
        _raised(error)

    _drive(op.stage("s")(lambda: work())())  # noqa: PLW0108 - a plain function is meant


def by_next(error: BaseException | None) -> None:
    @op.stage("s")
    def work() -> Iterator[int]:
        yield 1
        _raised(error)

    for _ in work():
        pass


def by_send(error: BaseException | None) -> None:
    @op.stage("s")
    def work() -> Iterator[int]:
        yield 1
        _raised(error)

    rows: Any = work()
    next(rows)
    try:
        rows.send(1)
    except StopIteration:
        return


def by_throw(error: BaseException | None) -> None:
    @op.stage("s")
    def work() -> Iterator[int]:
        yield 1

    rows: Any = work()
    next(rows)
    if error is not None:
        rows.throw(error)
    rows.close()


def by_async_generator(error: BaseException | None) -> None:
    @op.stage("s")
    async def work() -> AsyncIterator[int]:
        yield 1
        _raised(error)

    async def consume() -> None:
        async for _ in work():
            pass

    _drive(consume())


def by_athrow(error: BaseException | None) -> None:
    @op.stage("s")
    async def work() -> AsyncIterator[int]:
        yield 1

    async def consume() -> None:
        rows: Any = work()
        await rows.__anext__()
        if error is not None:
            await rows.athrow(error)
        await rows.aclose()

    _drive(consume())


def _drive(coroutine: Any) -> None:
    # Without a loop: asyncio itself treats KeyboardInterrupt, SystemExit and CancelledError in ways of its own.
    try:
        coroutine.send(None)
    except StopIteration:
        return


WAYS = [
    by_function, by_block, by_coroutine, by_returned_coroutine, by_next, by_send, by_throw, by_async_generator,
    by_athrow,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("make", "run_result", "stage_result", "status"), RESULTS)
def test_results_of_run_and_stage(  # noqa: PLR0917 - pytest's parameters
    seen: Seen,
    way: Callable[[BaseException | None], None],
    make: Callable[[], BaseException | None],
    run_result: str,
    stage_result: str,
    status: StatusCode,
) -> None:
    """Each exception, in each way that a stage can run: results, status, error.type, one exception event, one frame."""
    error = make()
    got: BaseException | None = None
    try:
        with op.pipeline("p"):
            way(error)
    except BaseException as caught:
        got = caught
    assert got is error
    assert seen.run()["pipeline.run.result"] == run_result
    assert seen.stage("s")["pipeline.stage.result"] == stage_result
    assert seen.one("run p").status.status_code is seen.one("stage s").status.status_code is status
    assert len(seen.exceptions("stage s")) == (0 if run_result == "success" else 1)
    assert seen.exceptions("run p") == []
    if run_result != "success":
        assert seen.stage("s")["error.type"] == seen.run()["error.type"] == _name(error)
    assert "error.type" in seen.run() or run_result == "success"
    assert _frames_of_ours(got) <= 1


def _name(error: BaseException | None) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _frames_of_ours(error: BaseException | None) -> int:
    trace = error.__traceback__ if error is not None else None
    return sum(frame.f_code.co_filename.startswith(OURS) for frame, _ in traceback.walk_tb(trace))


def test_one_frame_of_ours_per_stage(seen: Seen) -> None:
    """Three stages and a pipeline add at most four frames to the traceback, and the user's stay in order."""

    @op.stage
    def extract() -> Iterator[int]:
        yield 1
        raise ValueError("deep")

    @op.stage
    def transform(rows: Any) -> Iterator[int]:
        yield from rows

    @op.stage
    def load(rows: Any) -> None:
        for _ in op.current_stage().track(rows):
            pass

    @op.pipeline("p")
    def main() -> None:
        load(transform(extract()))

    with pytest.raises(ValueError, match="deep") as caught:
        main()
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert _frames_of_ours(caught.value) == 4
    assert [name for name in names if name in ("main", "load", "transform", "extract")] == [
        "main",
        "load",
        "transform",
        "extract",
    ]


def test_skip(seen: Seen) -> None:
    """`run.skip(reason)`: result skip, status unset; a failure after it stays one."""
    with op.pipeline("p") as run:
        run.skip("no files")
    with pytest.raises(KeyError), op.pipeline("q") as run:
        run.skip("no files")
        raise KeyError
    assert seen.run()["pipeline.run.result"] == "skip"
    assert seen.run()["pipeline.run.skip.reason"] == "no files"
    assert seen.one("run p").status.is_unset
    assert seen.run("q")["pipeline.run.result"] == "failure"


def test_an_exception_that_the_user_handles_costs_only_its_stage(seen: Seen) -> None:
    """A stage that fails and is caught outside of it leaves the run a success."""
    with op.pipeline("p"), pytest.raises(ValueError, match="x"):
        by_block(ValueError("x"))
    assert seen.run()["pipeline.run.result"] == "success"
    assert "error.type" not in seen.run()


@pytest.mark.parametrize("make", [ValueError, Frozen])
def test_an_exception_is_recorded_once_through_nested_runs(seen: Seen, make: Callable[[], BaseException]) -> None:
    """Stage, run and outer run see one object: the first records it, those around name where it came from."""
    with pytest.raises(make), op.pipeline("outer"), op.pipeline("inner"), op.stage("s"):  # type: ignore[call-overload]
        raise make()
    assert [len(seen.exceptions(name)) for name in ("stage s", "run inner", "run outer")] == [1, 0, 0]
    assert seen.run("outer")["pipeline.error.stage"] == seen.run("inner")["pipeline.error.stage"] == "s"


def test_a_run_without_stages_records_it_once_as_well(seen: Seen) -> None:
    """An inner run records, the stage and the run around it do not; the stage is then the first stage that saw it."""
    with pytest.raises(ValueError, match="x"), op.pipeline("outer"), op.stage("s"), op.pipeline("inner"):
        raise ValueError("x")
    assert [len(seen.exceptions(name)) for name in ("run inner", "stage s", "run outer")] == [1, 0, 0]
    assert "pipeline.error.stage" not in seen.run("inner")
    assert seen.run("outer")["pipeline.error.stage"] == "s"


def test_one_exception_object_raised_in_two_runs_is_recorded_in_each(seen: Seen) -> None:
    """A module's only exception object, raised by another stage in a later run, has its origin there."""
    error = ValueError("one object")
    for name in ("a", "b"):
        with pytest.raises(ValueError, match="one object"), op.pipeline(name), op.stage(name):
            raise error
    assert [len(seen.exceptions(f"stage {name}")) for name in ("a", "b")] == [1, 1]
    assert [seen.stage(name)["pipeline.error.stage"] for name in ("a", "b")] == ["a", "b"]


def test_the_message_and_the_trace_are_bounded(seen: Seen) -> None:
    """An exception with a message of megabytes gives a span of kilobytes."""
    with pytest.raises(ValueError, match="x"), op.stage("s"):
        raise ValueError("x" * 5_000_000)
    (event,) = seen.exceptions("stage s")
    assert len(event["exception.message"]) < 10_000
    assert len(event["exception.stacktrace"]) < 20_000
    assert len(seen.one("stage s").status.description or "") < 10_000


def test_a_run_keeps_no_exception_and_so_no_frames_of_the_user(seen: Seen) -> None:
    """After the end nothing of ours holds the exception: its frames, and what they hold, go when the user lets go."""
    import gc
    import weakref

    class Large:
        pass

    @op.pipeline("p")
    def main() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise ValueError

    held: list[Any] = []
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            main()
        assert held[0]() is None
    finally:
        gc.enable()


def test_spans_of_the_user_in_a_failing_stage_stay_theirs(seen: Seen) -> None:
    """functools.partial of a method, raising: the traceback starts where the user's call is."""

    class Job:
        @op.stage("s")
        def work(self, factor: int) -> float:
            return 1 / factor

    with pytest.raises(ZeroDivisionError) as caught:
        functools.partial(Job().work, 0)()
    assert _frames_of_ours(caught.value) == 1
    assert isinstance(seen.one("stage s"), ReadableSpan)
