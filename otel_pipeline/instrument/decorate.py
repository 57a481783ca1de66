"""``pipeline`` and ``stage``: one object that is a decorator and a context manager.

A decorated function gets a wrapper of its own kind: a function, a coroutine function, or one that returns a lazy
iterator. Each wrapper is the one frame of ours that the user sees in a traceback.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from threading import get_ident
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, overload

from otel_pipeline.errors import UsageError
from otel_pipeline.instrument import lazy
from otel_pipeline.instrument.context import FRAME_KEY, current
from otel_pipeline.instrument.lazy_async import LazyAsyncIterator
from otel_pipeline.instrument.records import attributes_from, text
from otel_pipeline.instrument.run import Run
from otel_pipeline.instrument.scope import Scope
from otel_pipeline.instrument.stage import Stage
from otel_pipeline.semconv.attributes import STAGE_KINDS

if TYPE_CHECKING:
    from types import TracebackType

    from opentelemetry.util.types import AttributeValue

    from otel_pipeline.declaration import Expect, Slo

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=Scope)


def is_descriptor(function: object) -> bool:
    """Whether it is a function in the clothes of a class: what is in it is decorated."""
    return isinstance(function, (staticmethod, classmethod))


def needs_name(what: str, name: object, such_as: str) -> None:
    """Refuse a function where a name is wanted: the decorator was written without parentheses."""
    if inspect.isroutine(name) or is_descriptor(name):
        raise UsageError(f"@{what} needs to know of what: @{what}({such_as})")


class Opens(Generic[S]):
    """Opens a scope for each ``with`` block or call. May be reused and nested, as may the decorated function."""

    _what = "scope"
    _steps: ClassVar[type[lazy.LazyIterator[Any]]] = lazy.LazyIterator

    def __init__(self, name: str | None, attributes: Mapping[str, AttributeValue] | None) -> None:
        self._name = name
        self._attributes = attributes_from(attributes, self._what)
        self._open: list[S] = []

    def open(self, name: str) -> S:
        """A new scope, not begun."""
        raise NotImplementedError

    def __call__(self, function: F) -> F:
        """``function``, in a scope of its own for each call."""
        if isinstance(function, (staticmethod, classmethod)):
            return cast("F", type(function)(self(function.__func__)))
        if not callable(function) or isinstance(function, type):
            raise UsageError(f"{self._what} decorates a function or is a context manager; got {function!r:.80}")
        return cast("F", _wrap(self, self._name or _name_of(function), function))

    def __enter__(self) -> S:
        if self._name is None:
            raise UsageError(f"`with {self._what}()` needs a name: {self._what}('name')")
        scope = self.open(self._name)
        scope.__enter__()
        self._open.append(scope)
        return scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The block that ends is the one whose scope is current here; one object may serve several threads or tasks.
        scope = cast("S | None", current.get().get(FRAME_KEY))
        if scope not in self._open:
            scope = _ending(list(self._open), scope)
        if scope is not None:
            self._open.remove(scope)
            scope.__exit__(kind, error, trace)

    async def __aenter__(self) -> S:
        return self.__enter__()

    async def __aexit__(self, *exception: Any) -> None:
        self.__exit__(*exception)


class _Pipeline(Opens[Run]):
    _what = "pipeline"

    def __init__(
        self,
        name: str | None,
        attributes: Mapping[str, AttributeValue] | None = None,
        *,
        run_id: str | None = None,
        attempt: int = 1,
        backfill: bool = False,
        declared: str | None = None,
    ) -> None:
        super().__init__(name, attributes)
        self._run_id = text(run_id, "run_id")
        self._attempt = attempt
        self._backfill = backfill
        self._declared = declared

    def open(self, name: str) -> Run:
        run = Run(
            name,
            self._attributes,
            id=self._run_id,
            attempt=self._attempt,
            backfill=self._backfill,
            declared=self._declared,
        )
        run.claims = self._run_id or ""
        return run


class _Stage(Opens[Stage]):
    _what = "stage"

    def __init__(
        self, name: str | None, attributes: Mapping[str, AttributeValue] | None, kind: str | None, reconcile: bool
    ) -> None:
        super().__init__(name, attributes)
        self._kind = kind
        self._reconcile = reconcile

    def open(self, name: str) -> Stage:
        kind = self._kind or (name if name in STAGE_KINDS else None)
        return Stage(name, self._attributes, kind=kind, reconcile=self._reconcile)


def _ending(candidates: list[S], frame: object) -> S | None:
    """Which of the scopes that one object has opened ends now: the current one, where none of our rules is broken.

    Else one of this thread that is not around the current code (of a generator that is collected here), else the
    innermost that is.
    """
    around: list[S] = []
    while isinstance(frame, Scope):
        if any(each is frame for each in candidates):
            around.append(cast("S", frame))
            if len(around) == 1 and frame is current.get().get(FRAME_KEY):
                return around[0]
        frame = frame._before.get(FRAME_KEY) if frame._before is not None else None
    elsewhere = [each for each in candidates if each not in around and each.thread == get_ident()]
    return next(iter(elsewhere[-1:] + around + candidates[-1:]), None)


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)


# --- the wrappers, one per kind of function -------------------------------------------------------------------------


def _wrap(opens: Opens[Any], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _wrap_lazy(opens, name, function, LazyAsyncIterator)
    if inspect.isgeneratorfunction(function):
        return _wrap_lazy(opens, name, function, opens._steps)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with opens.open(name) as scope:
                result = await function(*args, **kwargs)
                return result if type(result) not in _HANDED_OUT else _handed_out(scope, result)

        return coroutine

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with opens.open(name) as scope:
            result = function(*args, **kwargs)
            return result if type(result) not in _HANDED_OUT else _handed_out(scope, result)

    return wrapper


def _wrap_lazy(opens: Opens[Any], name: str, function: Callable[..., Any], kind: type[Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)  # first: the arguments may be wrong
        return lazy.called(opens.open(name), generator, current.get(), kind)

    return wrapper


_HANDED_OUT: tuple[type, ...] = (
    GeneratorType,
    AsyncGeneratorType,
    CoroutineType,
    lazy.LazyIterator,
    LazyAsyncIterator,
)


def _handed_out(scope: Any, result: Any) -> Any:
    """A plain function returned something that runs later: the scope lasts until that has run."""
    if isinstance(result, (lazy.LazyIterator, LazyAsyncIterator)):
        if isinstance(scope, Run):
            lazy.extend(scope, result)
        return result
    if isinstance(result, GeneratorType):
        return lazy.begun(scope, result, lazy.LazyIterator)
    if isinstance(result, AsyncGeneratorType):
        return lazy.begun(scope, result, LazyAsyncIterator)
    scope.outlives = True
    return _awaited(scope, result)


async def _awaited(scope: Run | Stage, coroutine: Any) -> Any:
    scope.outlives = False
    with _Resumed(scope):
        result = await coroutine
        return result if type(result) not in _HANDED_OUT else _handed_out(scope, result)


class _Resumed:
    def __init__(self, scope: Run | Stage) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        self._scope.resume()

    def __exit__(self, *exception: Any) -> None:
        self._scope.__exit__(*exception)


# --- the public names -----------------------------------------------------------------------------------------------


@overload
def pipeline(name: F, /) -> F: ...
@overload
def pipeline(
    name: str | None = None,
    *,
    attributes: Mapping[str, AttributeValue] | None = None,
    run_id: str | None = None,
    attempt: int = 1,
    backfill: bool = False,
    schedule: str | None = None,
    expect: Expect | None = None,
    slo: Slo | None = None,
) -> _Pipeline: ...
def pipeline(
    name: Any = None,
    *,
    attributes: Mapping[str, AttributeValue] | None = None,
    run_id: str | None = None,
    attempt: int = 1,
    backfill: bool = False,
    schedule: str | None = None,
    expect: Expect | None = None,
    slo: Slo | None = None,
) -> Any:
    """A run of a pipeline: around a function (also a coroutine or generator function), or as a context manager.

    ``name`` defaults to the function's. ``attributes`` go onto the run's span. ``run_id`` (default: a new UUIDv7) and
    ``attempt`` (from 1) are for schedulers that retry. A ``backfill`` fills in old data: its run, and those within it,
    are kept apart, out of success rate, freshness and objectives (docs/kpis.md). ``schedule`` (five fields of a cron
    expression and a time zone), ``expect`` and ``slo`` say what the pipeline should do; whoever keeps its runs reports
    what was not so (docs/expectations.md).

    >>> from otel_pipeline import Expect, pipeline
    >>> @pipeline("orders_etl", schedule="0 2 * * * Europe/Berlin", expect=Expect(duration="<30m", records=">=1000"))
    ... def main(day): ...
    >>> with pipeline("news_crawl") as run:
    ...     pass

    Raises UsageError when it is used as neither, ExpectationError for what cannot be expected.
    """
    if _is_decorated(name):
        return _Pipeline(None)(name)
    _check_name("pipeline", name)
    declared = _declared(schedule, expect, slo)
    return _Pipeline(name, attributes, run_id=run_id, attempt=attempt, backfill=backfill, declared=declared)


def _declared(schedule: str | None, expect: Expect | None, slo: Slo | None) -> str | None:
    if schedule is None and expect is None and slo is None:
        return None
    from otel_pipeline import declaration  # noqa: PLC0415 - only who declares something pays for its checks

    return declaration.text_of(schedule, expect, slo)


@overload
def stage(name: F, /) -> F: ...
@overload
def stage(
    name: str | None = None,
    *,
    kind: str | None = None,
    reconcile: bool = False,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> _Stage: ...
def stage(
    name: Any = None,
    *,
    kind: str | None = None,
    reconcile: bool = False,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Any:
    """A stage: around a function (also a coroutine or generator function), or as a context manager.

    ``name`` defaults to the function's. ``kind`` is one of extract, transform, validate, filter, expand, aggregate,
    join, load, and defaults to the name where that is one of them. For transform, validate, filter, or with
    ``reconcile=True``, records are reconciled: in = out + failed + dropped + in flight.

    >>> from otel_pipeline import stage
    >>> @stage
    ... def extract():
    ...     yield from range(3)
    >>> list(extract())
    [0, 1, 2]

    Raises UsageError for an unknown ``kind``, or when it is used as neither.
    """
    if _is_decorated(name):
        return _Stage(None, None, None, False)(name)
    _check_name("stage", name)
    if kind is not None and kind not in STAGE_KINDS:
        raise UsageError(f"stage kind={kind!r} is unknown; use one of {', '.join(STAGE_KINDS)}")
    return _Stage(name, attributes, kind, reconcile)


def _is_decorated(name: object) -> bool:
    return callable(name) or is_descriptor(name)


def _check_name(what: str, name: object) -> None:
    if name is not None and (not isinstance(name, str) or not name):
        raise UsageError(f"{what} needs a name that is a non-empty string; got {name!r:.80}")
