"""An operation, open or ended, of each kind: a frame without a span, which is counted when it ends.

Its time is no self time of the stage around it. There may be a million of them: they are counted and timed by metrics,
and summed up on the span of their stage.
"""

from __future__ import annotations

from threading import get_ident
from time import perf_counter_ns
from typing import TYPE_CHECKING

from opentelemetry import context as context_api

from otel_pipeline.instrument import registry, results
from otel_pipeline.instrument.context import FRAME_KEY
from otel_pipeline.instrument.measuring import Noted
from otel_pipeline.instrument.records import whole
from otel_pipeline.instrument.scope import Scope
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import operations as o

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context

    from otel_pipeline.instrument.frame import Frame
    from otel_pipeline.instrument.run import Run
    from otel_pipeline.instrument.stage import Stage

_ALL = Noted(o.OPERATION_DURATION.metric)


class Operation(Scope):
    """One operation, open or ended."""

    __slots__ = ("_failed", "_in_run", "_run", "_stage")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._failed = False
        self._in_run = False  # its time is the run's, outside stages
        self._run: Run | None = None
        self._stage: Stage | None = None

    @property
    def run(self) -> Run | None:
        """The run that it belongs to, if any."""
        return self._run

    @property
    def stage(self) -> Stage | None:
        """The stage that it belongs to, if any."""
        return self._stage

    def fail(self) -> None:
        """It failed, though nothing was raised."""
        self._failed = True

    def begin(self, outer: Context) -> Context:
        """See Scope. There is no span."""
        if self.started:
            wrong = f"{self.name!r:.80} was one operation and is entered again, which is not counted; make a new one"
            registry.misused("operation", wrong)
        self.began = self.entered or perf_counter_ns()
        self.started = 1  # it has begun; when is nobody's interest
        frame: Frame | None = outer.get(FRAME_KEY)  # type: ignore[assignment]
        self._belong(frame)
        if self._stage is not None:
            self._stage.operations[id(self)] = self
        elif frame is not None and frame.thread == get_ident():
            self._in_run = frame is self._run or (isinstance(frame, Operation) and frame._in_run)
        self.inner = inner = context_api.set_value(FRAME_KEY, self, outer)
        return inner

    def _belong(self, frame: Frame | None) -> None:
        if frame is not None:
            self._run, self._stage = frame.run, frame.stage

    def close(self, error: BaseException | None, exhausted: bool | None, ended: int) -> None:
        """Count it."""
        del exhausted, ended
        failed = self._failed or results.stage_result(error) != "success"
        own = self.own_time(self.left)
        if self._stage is not None:
            self._stage.done_with(self, own, failed=failed)
        elif self._in_run and self._run is not None:
            self._run.covered -= own
        # Of a generator the time in its own steps, not what its consumer took in between.
        busy = self.busy + (self.left - self.entered if self.entered else 0)
        self.count(busy / 1e9, failed=failed)

    def count(self, seconds: float | None, *, failed: bool) -> None:
        """Note what is known of it, in metrics."""
        if seconds is not None:
            status = a.OPERATION_STATUSES[failed]
            stage = self._stage.name if self._stage is not None else ""
            _ALL.note(seconds, {
                a.PIPELINE_NAME: self.pipeline, a.STAGE_NAME: stage, a.OPERATION_NAME: self.name,
                a.OPERATION_STATUS: status,
            })  # fmt: skip

    @property
    def pipeline(self) -> str:
        """The name of the pipeline around it; empty where there is none."""
        return self._run.name if self._run is not None else ""

    def returned(self, result: object) -> None:
        """What a decorated function returned; some kinds of operations read a number from it."""

    def called(self, arguments: Sequence[object]) -> None:
        """With which arguments a decorated function is called."""


class Database(Operation):
    """A database operation."""

    __slots__ = ("_rows", "operation", "table")

    def __init__(self, operation: str, table: str) -> None:
        super().__init__(f"{operation} {table}".strip())
        self.operation = operation
        self.table = table
        self._rows = 0

    def rows(self, number: int) -> None:
        """So many rows were read or written; calls add up."""
        self._rows += whole(number, "rows") or 0

    def count(self, seconds: float | None, *, failed: bool) -> None:
        """See Operation."""
        labels = {a.PIPELINE_NAME: self.pipeline, a.DB_OPERATION: self.operation, a.DB_TABLE: self.table}
        _DATABASE_OPERATIONS.note(1, {**labels, a.OPERATION_STATUS: a.OPERATION_STATUSES[failed]})
        if self._rows:
            _DATABASE_ROWS.note(self._rows, labels)
        if seconds is not None:
            _DATABASE_DURATION.note(seconds, labels)
            _ALL.note(seconds, {
                a.PIPELINE_NAME: "database", a.STAGE_NAME: self.table, a.OPERATION_NAME: self.operation,
                a.OPERATION_STATUS: a.OPERATION_STATUSES[failed],
            })  # fmt: skip

    def returned(self, result: object) -> None:
        """A number of rows, or a cursor that knows one."""
        rows = getattr(result, "rowcount", result)
        if type(rows) is int and rows > 0:
            self.rows(rows)


class Search(Operation):
    """A search."""

    __slots__ = ("_length", "_results", "index")

    def __init__(self, index: str, query: object = None) -> None:
        super().__init__(f"search {index}".strip())
        self.index = index
        self._results: int | None = None
        self._length = len(query) if isinstance(query, str) else None

    def results(self, number: int) -> None:
        """So many results were found."""
        self._results = whole(number, "results")

    def count(self, seconds: float | None, *, failed: bool) -> None:
        """See Operation."""
        labels = {a.PIPELINE_NAME: self.pipeline, a.SEARCH_INDEX: self.index}
        _SEARCHES.note(1, {**labels, a.OPERATION_STATUS: a.OPERATION_STATUSES[failed]})
        for noted, value in (
            (_SEARCH_DURATION, seconds),
            (_SEARCH_RESULTS, self._results),
            (_SEARCH_LENGTH, self._length),
        ):
            if value is not None:
                noted.note(value, labels)
        super().count(seconds, failed=failed)

    def called(self, arguments: Sequence[object]) -> None:
        """The first text among them is the query."""
        query = next((each for each in arguments if isinstance(each, str)), None)
        self._length = len(query) if query is not None else self._length

    def returned(self, result: object) -> None:
        """The results, where they can be counted without being read."""
        try:
            self._results = len(result)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - it has no length, or one of the user's
            return


class Lookup(Operation):
    """A lookup in a cache."""

    __slots__ = ("_found", "cache")

    def __init__(self, cache: str) -> None:
        super().__init__(f"cache {cache}".strip())
        self.cache = cache
        self._found: bool | None = None

    def found(self, found: bool = True) -> None:
        """Whether there was something."""
        self._found = bool(found)

    def count(self, seconds: float | None, *, failed: bool) -> None:
        """See Operation. What was not said, or failed, is neither hit nor miss."""
        if self._found is not None:
            labels = {a.PIPELINE_NAME: self.pipeline, a.CACHE_NAME: self.cache}
            (HITS if self._found else MISSES).note(1, labels)
        super().count(seconds, failed=failed)

    def returned(self, result: object) -> None:
        """None is a miss."""
        self._found = result is not None


_DATABASE_OPERATIONS, _DATABASE_ROWS, _DATABASE_DURATION, _SEARCHES, _SEARCH_DURATION = (
    Noted(kpi.metric)
    for kpi in (o.DATABASE_OPERATIONS, o.DATABASE_ROWS, o.DATABASE_DURATION, o.SEARCHES, o.SEARCH_DURATION)
)
_SEARCH_RESULTS, _SEARCH_LENGTH, HITS, MISSES = (
    Noted(kpi.metric) for kpi in (o.SEARCH_RESULTS, o.SEARCH_LENGTH, o.CACHE_HITS, o.CACHE_MISSES)
)
