"""Stages that are generators: a span for each, though their bodies run by turns.

Each pull is a *step*. Around each step, and only there, the stage's context is the current one and its frame is busy::

    consumer's code │ outer context saved, ours set, frame entered ──► generator runs to its next yield │
    consumer's code │ ◄── ours saved (its body may have opened spans), outer restored, frame left ──────┘

so nothing leaks into the consumer between two pulls, no context token lives across a yield, and a record costs one swap
and two clock readings. ``__next__`` is written out, without calls of ours, because it runs once per record.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from threading import get_ident
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otel_pipeline.instrument import registry
from otel_pipeline.instrument.context import FRAME_KEY, current
from otel_pipeline.instrument.stage import Stage

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from otel_pipeline.instrument.frame import Frame
    from otel_pipeline.instrument.run import Run

T = TypeVar("T")
_Step = tuple["Context", "Frame | None", "Frame | None"]


class _Lazy:
    """What the synchronous and the asynchronous wrapper share: the life of their scope."""

    __slots__ = ("__weakref__", "_consumer", "_done", "_inner", "_outer", "_waiting", "scope")

    def __init__(self, scope: Stage | Run, outer: Context) -> None:
        self.scope = scope
        self._outer = outer  # at the call: decides the parent
        self._inner: Context | None = None
        self._consumer: Frame | None = None
        self._done = False
        self._waiting: tuple[Run, int] | None = None
        if isinstance(scope, Stage):
            scope.lazy = True
            run = getattr(outer.get(FRAME_KEY), "run", None)
            if run is not None:
                run.not_started[key := id(self)] = scope.name
                self._waiting = (run, key)

    def _start(self) -> Context:
        """The first pull: begin the scope. Later, only where the run has ended meanwhile: begin a late one."""
        if self._waiting is not None:
            run, key = self._waiting
            run.not_started.pop(key, None)
            self._waiting = None
            late = run.ended
        else:
            late = self.scope.ended
        if late and isinstance(self.scope, Stage):
            self.scope = self.scope.again()
            self.scope.lazy = self.scope.late = True
            registry.say_once(
                "late",
                f"otel_pipeline: stage {self.scope.name!r} was pulled from after its run had ended; "
                "what it yields from now on is counted on a stage marked late",
            )
        self._inner = inner = self.scope.begin(self._outer)
        return inner

    def _edge(self, consumer: Frame) -> None:
        self._consumer = consumer
        if (stage := consumer.stage) is not None and isinstance(self.scope, Stage):
            stage.upstream[self.scope.name] = None

    def _enter(self) -> _Step:
        outer = current.get()
        inner = self._start() if self._inner is None or self.scope.ended else self._inner
        consumer: Frame | None = outer.get(FRAME_KEY)  # type: ignore[assignment]
        current.set(inner)
        return outer, consumer, self.scope.enter(consumer)

    def _leave(self, step: _Step) -> None:
        outer, consumer, covers = step
        lasted = self.scope.leave(covers)
        self._inner = current.get()
        current.set(outer)
        if covers is not None:
            covers.waited += lasted
        if consumer is not None and consumer is not self._consumer:
            self._edge(consumer)

    def _yielded(self, step: _Step) -> None:
        self._leave(step)
        self.scope.yielded += 1
        if step[1] is not None:
            step[1].pulled += 1

    def _raised(self, step: _Step, error: BaseException) -> None:
        self._leave(step)
        self._done = True
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self.scope.end(None, exhausted=True)
        else:
            self.scope.end(error)

    def _closed(self) -> None:
        if not self._done:
            self._done = True
            self.scope.end(None, exhausted=False)

    def __del__(self) -> None:
        if not self._done and isinstance(self.scope, Stage) and (self.scope.started or self.scope.ends_run):
            registry.abandon(self.scope)


class LazyIterator(_Lazy, Generator[T, Any, Any], Generic[T]):
    """A generator in a scope. Not a ``types.GeneratorType``, but with all of the generator protocol."""

    __slots__ = ("_generator", "_next")

    def __init__(self, scope: Stage | Run, generator: Generator[T, Any, Any], outer: Context) -> None:
        super().__init__(scope, outer)
        self._generator = generator
        self._next = generator.__next__

    def __iter__(self) -> LazyIterator[T]:
        return self

    def __next__(self) -> T:
        # _enter, _leave and _yielded written out; bench/ measures this line by line.
        outer = current.get()
        scope = self.scope
        if self._inner is None or scope.ended:
            if self._done:
                return self._next()
            self._start()
            scope = self.scope
        consumer: Frame | None = outer.get(FRAME_KEY)  # type: ignore[assignment]
        current.set(self._inner)  # type: ignore[arg-type]
        scope.thread = thread = get_ident()
        scope.entered = now = perf_counter_ns()
        covers = None
        if consumer is not None and consumer.thread == thread:
            covers = consumer
            if not consumer.below:
                consumer.since = now
            consumer.below += 1
        try:
            value = self._next()
        except BaseException as error:
            self._raised((outer, consumer, covers), error)
            raise
        end = perf_counter_ns()
        self._inner = current.get()
        current.set(outer)
        scope.busy += end - now
        scope.entered = 0
        scope.left = end
        scope.yielded += 1
        if covers is not None:
            covers.below -= 1
            if not covers.below:
                covers.covered += end - covers.since
            covers.waited += end - now
        if consumer is not None:
            consumer.pulled += 1
            if consumer is not self._consumer:
                self._edge(consumer)
        return value

    def send(self, value: Any) -> T:
        """As a generator's ``send``."""
        if self._done:
            return self._generator.send(value)
        step = self._enter()
        try:
            result = self._generator.send(value)
        except BaseException as error:
            self._raised(step, error)
            raise
        self._yielded(step)
        return result

    def throw(self, *exception: Any) -> T:
        """As a generator's ``throw``."""
        if self._done or self._inner is None:
            return self._generator.throw(*exception)
        step = self._enter()
        try:
            result = self._generator.throw(*exception)
        except BaseException as error:
            self._raised(step, error)
            raise
        self._yielded(step)
        return result

    def close(self) -> None:
        """As a generator's ``close``: the consumer wants no more, which is no failure."""
        if self._done or self._inner is None:
            return self._generator.close()
        step = self._enter()
        try:
            self._generator.close()
        except BaseException as error:
            self._raised(step, error)
            raise
        self._leave(step)
        return self._closed()


class LazyAsyncIterator(_Lazy, AsyncGenerator[T, Any], Generic[T]):
    """An async generator in a scope. A step lasts across the awaits in it, less what it pulled from stages upstream."""

    __slots__ = ("_generator",)

    def __init__(self, scope: Stage | Run, generator: AsyncGenerator[T, Any], outer: Context) -> None:
        super().__init__(scope, outer)
        self._generator = generator

    def __aiter__(self) -> LazyAsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._done:
            return await self._generator.__anext__()
        step = self._enter()
        try:
            value = await self._generator.__anext__()
        except BaseException as error:
            self._raised(step, error)
            raise
        self._yielded(step)
        return value

    async def asend(self, value: Any) -> T:
        """As an async generator's ``asend``."""
        if self._done:
            return await self._generator.asend(value)
        step = self._enter()
        try:
            result = await self._generator.asend(value)
        except BaseException as error:
            self._raised(step, error)
            raise
        self._yielded(step)
        return result

    async def athrow(self, *exception: Any) -> T:
        """As an async generator's ``athrow``."""
        if self._done or self._inner is None:
            return await self._generator.athrow(*exception)
        step = self._enter()
        try:
            result = await self._generator.athrow(*exception)
        except BaseException as error:
            self._raised(step, error)
            raise
        self._yielded(step)
        return result

    async def aclose(self) -> None:
        """As an async generator's ``aclose``: the consumer wants no more, which is no failure."""
        if self._done or self._inner is None:
            return await self._generator.aclose()
        step = self._enter()
        try:
            await self._generator.aclose()
        except BaseException as error:
            self._raised(step, error)
            raise
        self._leave(step)
        return self._closed()


def resume(scope: Stage | Run, generator: Generator[T, Any, Any]) -> LazyIterator[T]:
    """A generator that a plain function of a begun scope returned: the scope lasts as long as it."""
    lazy: LazyIterator[T] = LazyIterator.__new__(LazyIterator)
    _Lazy.__init__(lazy, scope, scope.inner)  # type: ignore[arg-type]
    lazy._generator, lazy._next = generator, generator.__next__
    _begun(lazy, scope)
    return lazy


def _begun(lazy: _Lazy, scope: Stage | Run) -> None:
    if lazy._waiting is not None:
        lazy._waiting[0].not_started.pop(lazy._waiting[1], None)
        lazy._waiting = None
    lazy._inner = scope.inner
    scope.outlives = True


def extend(run: Run, lazy: LazyIterator[T] | LazyAsyncIterator[T]) -> None:
    """A pipeline function returned an iterator of ours: its run lasts as long as that stage."""
    if isinstance(lazy.scope, Stage) and not lazy._done:
        run.outlives = True
        lazy.scope.ends_run = run


def resume_async(scope: Stage | Run, generator: AsyncGenerator[T, Any]) -> LazyAsyncIterator[T]:
    """The same for an async generator."""
    lazy: LazyAsyncIterator[T] = LazyAsyncIterator.__new__(LazyAsyncIterator)
    _Lazy.__init__(lazy, scope, scope.inner)  # type: ignore[arg-type]
    lazy._generator = generator
    _begun(lazy, scope)
    return lazy
