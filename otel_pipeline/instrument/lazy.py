"""Stages that are generators: a span for each, though their bodies run by turns.

Each pull is a *step*. Around each step, and only there, the stage's context is the current one and its frame is busy::

    consumer's code │ outer context saved, ours set, frame entered ──► generator runs to its next yield │
    consumer's code │ ◄── ours saved (its body may have opened spans), outer restored, frame left ──────┘

so nothing leaks into the consumer between two pulls, no context token lives across a yield, and a record costs one swap
and two clock readings. ``__next__`` is written out, without calls of ours, because it runs once per record.

A stage that the body holds open across a yield (``with stage("connect"): yield row``) is *held*, not busy, meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator
from threading import get_ident
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from otel_pipeline.instrument import registry
from otel_pipeline.instrument.collector import shield
from otel_pipeline.instrument.context import FRAME_KEY, current
from otel_pipeline.instrument.frame import Frame
from otel_pipeline.instrument.records import CountsItself
from otel_pipeline.instrument.run import Run
from otel_pipeline.instrument.scope import Scope
from otel_pipeline.instrument.stage import Stage

if TYPE_CHECKING:
    from opentelemetry.context import Context

T = TypeVar("T")
_get, _set = current.get, current.set  # once: they are looked up twice per record otherwise
_Step = tuple["Context", Frame | None, Frame | None]


class Lazy(CountsItself):
    """What the synchronous and the asynchronous wrapper share: the life of their scope."""

    __slots__ = (
        "__weakref__",
        "_consumer",
        "_done",
        "_held",
        "_inner",
        "_outer",
        "_pulled_in",
        "_waiting",
        "flows",
        "scope",
    )

    _awaits: ClassVar[bool] = False

    def __init__(self, scope: Stage | Run, outer: Context) -> None:
        self.scope = scope
        self.flows = isinstance(scope, (Stage, Run))  # what it yields are records; an operation's are its own affair
        self._outer = outer  # at the call: decides the parent
        self._inner: Context | None = None
        self._pulled_in: Context | None = None  # the context of the last pull, and the consumer in it
        self._consumer: Frame | None = None
        self._done = False  # the generator has ended, and with it the scope
        self._held: tuple[Frame, ...] = ()
        self._waiting: tuple[Run, int] | None = None

    def _called(self) -> None:
        if isinstance(self.scope, Run):
            self.scope.outlives = True
        if not isinstance(self.scope, Stage):
            return
        self.scope.lazy = True
        run = getattr(self._outer.get(FRAME_KEY), "run", None)
        if isinstance(run, Run):
            self._waiting = (run, run.waiting(self.scope.name))

    def _begun(self) -> None:
        # The call that returned the generator began its scope; what starts anew later hangs where the scope does.
        self._inner, self.scope.outlives = self.scope.inner, True
        if self.scope._before is not None:
            self._outer = self.scope._before
        if isinstance(self.scope, Stage):
            self.scope.lazy = True

    def _start(self) -> Context:
        """The first pull: begin the scope. Later, only where the run has ended meanwhile: begin a late one."""
        late = self.scope.ended
        if self._waiting is not None:
            run, number = self._waiting
            late = run.ended
            if not late:
                run.not_started.pop(number, None)
            self._waiting = None
        if late and isinstance(self.scope, Stage):
            self.scope = self.scope.again()
            self.scope.lazy = self.scope.late = True
            registry.say_once(
                "late",
                f"otel_pipeline: stage {self.scope.name!r} was pulled from after its run had ended; "
                "what it yields from now on is counted on a stage marked late",
            )
        self._inner = inner = self.scope.begin(self._outer if self.flows else current.get())
        return inner

    def _passed(self) -> bool:
        """Whether the generator goes on without us: it has ended, its run has, or it is executing at this moment."""
        scope = self.scope
        return self._done or bool(scope.entered) or (scope.ended and not isinstance(scope, Stage))

    def _pulled_from(self, outer: Context) -> None:
        """The consumer is another than at the last pull, or in another context: where it is a stage, that is an edge.

        ``_pulled_in`` is kept to tell: the consumer need not be looked up in the same context for each record.
        """
        self._pulled_in = outer
        self._consumer = consumer = cast("Frame | None", outer.get(FRAME_KEY))
        if consumer is not None and (stage := consumer.stage) is not None and isinstance(self.scope, Stage):
            stage.upstream[self.scope.name] = None

    def _enter(self) -> _Step:
        outer, inner = current.get(), self._inner
        if inner is None or self.scope.ended:
            inner = self._start()
        if outer is not self._pulled_in:
            self._pulled_from(outer)
        consumer = self._consumer
        current.set(inner)
        covers = self.scope.enter(consumer)
        if self._held:
            self._resume()
        return outer, consumer, covers

    def _leave(self, step: _Step) -> None:
        outer, _, covers = step
        lasted = self.scope.leave(covers)
        self._inner = current.get()
        current.set(outer)
        if covers is not None and self.flows:
            covers.waited += lasted

    def _yielded(self, step: _Step) -> None:
        self._leave(step)
        self._hold(self.scope.left)
        self.scope.yielded += 1
        if step[1] is not None and self.flows:
            step[1].pulled += 1

    def _raised(self, step: _Step, error: BaseException, running: bool) -> None:
        here = current.get()
        self._leave(step)
        if self._awaits and isinstance(error, GeneratorExit) and self._reached(here) is None:
            current.set(here)  # closed from elsewhere (a task that is collected): that context is none of ours
        if running:
            return  # another thread or task is inside the generator: this call was refused, nothing has ended
        self._done = True
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self.scope.end(None, exhausted=True)
        elif isinstance(error, GeneratorExit):
            self.scope.end(None, exhausted=False)
        else:
            self.scope.end(error)

    def _never_begun(self, error: BaseException | None) -> None:
        """Closed before the first pull: the generator is over, and there was no stage."""
        self._done = True
        for run in self.scope.ends:
            run.end(error)

    def _reached(self, inner: Context) -> list[Frame] | None:
        """The frames between the current one and the scope, the scope's child last; ``None`` where it is not above."""
        found: list[Frame] = []
        frame: object = inner.get(FRAME_KEY)
        while frame is not self.scope:
            if not isinstance(frame, Scope):
                return None
            found.append(frame)
            frame = frame._covers
        return found

    def _hold(self, now: int) -> None:
        # Not busy while the consumer is: those that the body holds open, innermost first.
        held = self._reached(self._inner) if self.scope.below and self._inner is not None else None
        self._held = tuple(held or ())
        for frame in self._held:
            frame.pause(now)

    def _resume(self) -> None:
        scope = self.scope
        for frame in self._held:
            frame.go_on(scope.entered, scope.thread)
        self._held = ()

    def _drop(self) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        if self._done:
            return
        shield()
        if self._inner is not None:
            # The body unwinds now as it would anyway, but in its own context, not in whichever is current here.
            here = current.get()
            current.set(self._inner)
            self._drop()
            current.set(here)
        if self.scope.started or self.scope.ends:
            registry.abandon(self.scope)


class LazyIterator(Lazy, Generator[T, Any, Any], Generic[T]):
    """A generator in a scope. Not a ``types.GeneratorType``, but with all of the generator protocol."""

    __slots__ = ("_generator", "_next")

    def __init__(self, scope: Stage | Run, generator: Generator[T, Any, Any], outer: Context) -> None:
        super().__init__(scope, outer)
        self._generator = generator
        self._next = generator.__next__

    def _drop(self) -> None:
        del self._next, self._generator

    def __iter__(self) -> LazyIterator[T]:
        return self

    def __next__(self) -> T:
        # _enter, _leave and _yielded written out, since this runs once per record.
        outer = _get()
        scope, inner = self.scope, self._inner
        if inner is None or scope.ended or scope.entered:
            if self._passed():
                return self._next()
            inner = self._start()
            scope = self.scope
        if outer is not self._pulled_in:
            self._pulled_from(outer)
        consumer = self._consumer
        _set(inner)
        scope.thread = thread = get_ident()
        scope.entered = now = perf_counter_ns()
        if scope.below:
            scope.since = now
            self._resume()
        covers = None
        if consumer is not None and consumer.thread == thread:
            covers = consumer
            below = consumer.below
            if not below:
                consumer.since = now
            consumer.below = below + 1
        try:
            value = self._next()
        except BaseException as error:
            self._raised((outer, consumer, covers), error, self._generator.gi_running)  # type: ignore[attr-defined]
            raise
        end = perf_counter_ns()
        self._inner = _get()
        _set(outer)
        lasted = end - now
        scope.busy += lasted
        scope.entered = 0
        scope.left = end
        scope.yielded += 1
        if scope.below:
            scope.covered += end - scope.since
            self._hold(end)
        if covers is not None:
            covers.below = below = covers.below - 1
            if not below and covers.entered:
                covers.covered += end - covers.since
            covers.waited += lasted
        if consumer is not None:
            consumer.pulled += 1
        return value

    def send(self, value: Any) -> T:
        """As a generator's ``send``."""
        if self._passed():
            return self._generator.send(value)
        step = self._enter()
        try:
            result = self._generator.send(value)
        except BaseException as error:
            self._raised(step, error, self._generator.gi_running)  # type: ignore[attr-defined]
            raise
        self._yielded(step)
        return result

    def throw(self, *exception: Any) -> T:
        """As a generator's ``throw``."""
        if self._passed():
            return self._generator.throw(*exception)
        if self._inner is None:
            try:
                return self._generator.throw(*exception)
            except BaseException as error:
                self._never_begun(error)
                raise
        step = self._enter()
        try:
            result = self._generator.throw(*exception)
        except BaseException as error:
            self._raised(step, error, self._generator.gi_running)  # type: ignore[attr-defined]
            raise
        self._yielded(step)
        return result

    def close(self) -> Any:
        """As a generator's ``close``: the consumer wants no more, which is no failure."""
        if self._passed():
            return self._generator.close()
        if self._inner is None:
            self._never_begun(None)
            return self._generator.close()
        step = self._enter()
        try:
            result: Any = self._generator.close()  # type: ignore[func-returns-value]  # from 3.13 on
        except BaseException as error:
            self._raised(step, error, self._generator.gi_running)  # type: ignore[attr-defined]
            raise
        self._raised(step, GeneratorExit(), running=False)
        return result


class LazySteps(LazyIterator[T]):
    """A generator in an operation, whose time is that of its steps; what it yields is none of its affair."""

    __slots__ = ()

    def __next__(self) -> T:
        return self.send(None)


def called(scope: Stage | Run, generator: Any, outer: Context, kind: type[Any]) -> Any:
    """A generator function was called in the context ``outer``: its scope begins with the first pull."""
    lazy = kind(scope, generator, outer)
    lazy._called()
    return lazy


def begun(scope: Stage | Run, generator: Any, kind: type[Any]) -> Any:
    """A generator that a plain function of a begun scope returned: the scope lasts as long as it."""
    lazy = kind(scope, generator, current.get())
    lazy._begun()
    return lazy


def extend(run: Run, lazy: Lazy) -> None:
    """A pipeline function returned an iterator of ours: its run lasts as long as that."""
    if not lazy._done:
        run.outlives = True
        lazy.scope.ends = (*lazy.scope.ends, run)
