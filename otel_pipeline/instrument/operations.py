"""What a stage does many times and wants timed: ``timed``, ``database``, ``search``, ``cache``.

::

    @op.timed("parse")                     a decorator, of functions of every kind
    with op.database("insert", "orders"):  a context manager
    op.search("articles").record(…)        a call, for what was measured elsewhere
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from otel_pipeline.instrument import measuring
from otel_pipeline.instrument.context import current_frame
from otel_pipeline.instrument.decorate import F, Opens, is_descriptor, needs_name
from otel_pipeline.instrument.lazy import LazySteps
from otel_pipeline.instrument.measuring import number
from otel_pipeline.instrument.records import text, whole
from otel_pipeline.instrument.timing import HITS, MISSES, Database, Lookup, Operation, Search
from otel_pipeline.semconv import attributes as a

if TYPE_CHECKING:
    from otel_pipeline.instrument.measuring import Noted


class Timed(Opens[Operation]):
    """What ``timed`` returns."""

    _what = "timed"
    _steps = LazySteps

    def open(self, name: str) -> Operation:
        """See Opens."""
        return Operation(name)

    def record(self, seconds: float, *, failed: bool = False) -> None:
        """Count one that took so many seconds, measured elsewhere: it takes nothing from the stage's self time."""
        _record(self.open(self._name or "unnamed"), seconds, failed=failed)


Kind = TypeVar("Kind", bound=Operation)


class _Reading(Opens[Kind]):
    """Around a function, tells the operation what that was called with and what it returned."""

    _steps = LazySteps

    def __call__(self, function: F) -> F:
        if is_descriptor(function) or isinstance(function, type) or not callable(function):
            return super().__call__(function)  # which unwraps it, or says what it wants
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            return super().__call__(function)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                operation = _operation()
                operation.called((*args, *kwargs.values()))
                result = await function(*args, **kwargs)
                operation.returned(result)
                return result

            return super().__call__(cast("F", awaited))

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            operation = _operation()
            operation.called((*args, *kwargs.values()))
            result = function(*args, **kwargs)
            operation.returned(result)
            return result

        return super().__call__(cast("F", called))


class DatabaseOperations(_Reading[Database]):
    """What ``database`` returns."""

    _what = "database"

    def __init__(self, operation: str, table: str) -> None:
        super().__init__(f"{operation} {table}".strip() or "unnamed", None)
        self._of = operation, table

    def open(self, name: str) -> Database:
        """See Opens."""
        return Database(*self._of)

    def record(self, seconds: float | None = None, *, rows: int | None = None, failed: bool = False) -> None:
        """Count one that took so many seconds and concerned so many rows, measured elsewhere."""
        made = Database(*self._of)
        if rows is not None:
            made.rows(rows)
        _record(made, seconds, failed=failed)


class Searches(_Reading[Search]):
    """What ``search`` returns."""

    _what = "search"

    def __init__(self, index: str, query: str | None) -> None:
        super().__init__(f"search {index}".strip(), None)
        self._of = index, query

    def open(self, name: str) -> Search:
        """See Opens."""
        return Search(*self._of)

    def record(self, seconds: float | None = None, *, results: int | None = None, failed: bool = False) -> None:
        """Count one that took so many seconds and found so many results, measured elsewhere."""
        made = Search(*self._of)
        if results is not None:
            made.results(results)
        _record(made, seconds, failed=failed)


class Cache(_Reading[Lookup]):
    """What ``cache`` returns."""

    _what = "cache"

    def __init__(self, name: str) -> None:
        super().__init__(f"cache {name}".strip(), None)
        self._of = name

    def open(self, name: str) -> Lookup:
        """See Opens."""
        return Lookup(self._of)

    def hit(self, number: int = 1) -> None:
        """So many lookups found something."""
        self._count(HITS, number)

    def miss(self, number: int = 1) -> None:
        """So many lookups found nothing."""
        self._count(MISSES, number)

    def _count(self, noted: Noted, number: int) -> None:
        if times := whole(number, "lookups"):
            measuring.begin()
            frame = current_frame()
            run = frame.run if frame is not None else None
            noted.note(times, {a.PIPELINE_NAME: run.name if run is not None else "", a.CACHE_NAME: self._of})


@overload
def timed(name: F, /) -> F: ...
@overload
def timed(name: str | None = None) -> Timed: ...
def timed(name: Any = None) -> Any:
    """Time an operation, successes and failures apart: a decorator, a context manager, or ``.record(seconds)``.

    >>> from otel_pipeline import timed
    >>> with timed("parse"):
    ...     document = "<html>".strip("<>")

    ``name`` defaults to the decorated function's.
    """
    measuring.begin()
    if callable(name) or is_descriptor(name):  # without parentheses
        return Timed(None, None)(name)
    return Timed(text(name, "name"), None)


def database(operation: str, table: str = "") -> DatabaseOperations:
    """A database operation: ``operation`` such as select, insert, copy, on ``table``.

    >>> from otel_pipeline import database
    >>> with database("insert", "orders") as insert:
    ...     insert.rows(10)

    Around a function, the number of rows is what it returns, where that is a number or a cursor with ``rowcount``.
    """
    measuring.begin()
    needs_name("database", operation, "'insert', 'orders'")
    return DatabaseOperations(text(operation, "operation") or "unknown", text(table, "table") or "")


def search(index: str = "", query: str | None = None) -> Searches:
    """A search in ``index``; of ``query`` its length is kept, never its text.

    >>> from otel_pipeline import search
    >>> with search("articles", "late pipelines") as found:
    ...     found.results(12)

    Around a function, the query is its first text argument, and the results are what it returns, where that has a
    length.
    """
    measuring.begin()
    needs_name("search", index, "'articles'")
    return Searches(text(index, "index") or "", text(query, "query"))


def cache(name: str) -> Cache:
    """A cache's hits and misses: ``.hit()``, ``.miss()``, or around a lookup.

    >>> from otel_pipeline import cache
    >>> users = cache("users")
    >>> users.miss()
    >>> with users as lookup:
    ...     lookup.found(True)

    Around a function, a lookup that returns None is a miss.
    """
    measuring.begin()
    needs_name("cache", name, "'users'")
    return Cache(text(name, "name") or "unnamed")


def _operation() -> Operation:
    """The one around the code; a detached one where another tool has put a context of its own in the place of ours."""
    frame = current_frame()
    return frame if isinstance(frame, Operation) else Operation("detached")


def _record(made: Any, seconds: object, *, failed: bool) -> None:
    made._belong(current_frame())
    took = None if seconds is None else number(seconds, "seconds", least=0)
    made.count(took, failed=bool(failed))
