"""A stage: one step of a run, and what it says of its records."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from otel_pipeline.instrument import registry, results
from otel_pipeline.instrument.context import FRAME_KEY, current_frame
from otel_pipeline.instrument.records import (
    LARGEST,
    MOST_CHECKS,
    MOST_DATASETS,
    CountsItself,
    Samples,
    Sums,
    Tracked,
    moment,
    needed,
    text,
    whole,
)
from otel_pipeline.instrument.run import Run
from otel_pipeline.instrument.scope import Scope
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from otel_pipeline.instrument.frame import Frame
    from otel_pipeline.instrument.timing import Operation

T = TypeVar("T")
_SIZED = (list, tuple, range, dict, set, frozenset)
_MOST_OPERATIONS = 200
_MOST_SHOWN = 20
_OTHERS = "other operations"
_COUNTS = {
    "records_in": a.RECORDS_IN,
    "records_out": a.RECORDS_OUT,
    "failed": a.RECORDS_FAILED,
    "dropped": a.RECORDS_DROPPED,
    "duplicate": a.RECORDS_DUPLICATE,
    "bytes": a.RECORDS_BYTES,
}


class Stage(Scope):
    """A handle on one stage, from ``current_stage()`` or ``with stage(...) as stage``; usable from anywhere.

    Its counts are exact and never guessed: what nobody reported stays absent. Numbers that cannot be counts are left
    out with one warning; no call here raises.
    """

    __slots__ = (
        "_added",
        "_counter",
        "_events",
        "_run",
        "_tracks",
        "kind",
        "late",
        "lazy",
        "operations",
        "others",
        "others_dropped",
        "reconcile",
        "spent",
        "total",
        "upstream",
    )

    def __init__(
        self,
        name: str,
        attributes: dict[str, AttributeValue] | None = None,
        *,
        kind: str | None = None,
        reconcile: bool = False,
    ) -> None:
        super().__init__(name, attributes)
        self.kind = kind
        self.reconcile = reconcile
        self.lazy = False
        self.late = False
        self.upstream: dict[str, None] = {}
        self.others = 0  # spans of others below this stage
        self.others_dropped = 0
        self.total: int | None = None  # how many records are to go in, where the code said so
        self.operations: dict[int, Operation] = {}  # the open ones, by id of the object
        self.spent: dict[tuple[str, int], list[int]] = {}  # by operation and thread: how often, errors, nanoseconds
        self._run: Run | None = None
        self._added: dict[tuple[str, int], int] = {}  # by count and thread, so that no addition is lost between two
        self._counter = Tracked()
        self._tracks = False
        self._events: dict[str, Sums | Samples] = {}  # datasets, checks and samples, as soon as there are any

    @property
    def run(self) -> Run | None:
        """The run that the stage belongs to, if any."""
        return self._run

    @property
    def stage(self) -> Stage:
        """Itself."""
        return self

    # --- what user code reports -----------------------------------------------------------------------------------

    @overload
    def track(self, rows: Iterable[T]) -> Iterator[T]: ...
    @overload
    def track(self, rows: AsyncIterable[T]) -> AsyncIterator[T]: ...
    def track(self, rows: Any) -> Any:
        """The same rows, each counted as a record that went *in*. For iterables that are no stages of their own.

        What is pulled from a stage is counted by itself: such an iterator comes back as it is.

        >>> from otel_pipeline import stage
        >>> with stage("extract") as extract:
        ...     total = sum(extract.track([1, 2, 3]))
        >>> extract.records["in"]
        3
        """
        if isinstance(rows, CountsItself) and getattr(rows, "flows", True):
            return rows
        self._tracks = True
        if type(rows) in _SIZED:  # of others the length may cost something: a query, say
            self.total = (self.total or 0) + len(rows)
        return self._counter.over_any(rows)

    def add(
        self,
        *,
        records_in: int | None = None,
        records_out: int | None = None,
        failed: int | None = None,
        dropped: int | None = None,
        duplicate: int | None = None,
        bytes: int | None = None,
    ) -> None:
        """Add to the stage's counts, in records and bytes.

        ``records_out`` replaces the count of what a lazy stage yields: say it when it yields batches. Dropped
        duplicates are both: ``add(dropped=1, duplicate=1)``.
        """
        given = {
            "records_in": records_in,
            "records_out": records_out,
            "failed": failed,
            "dropped": dropped,
            "duplicate": duplicate,
            "bytes": bytes,
        }
        for name, value in given.items():
            if (number := whole(value, name)) is not None:
                self._add(name, number)

    def _add(self, name: str, number: int) -> None:
        key = (name, get_ident())
        self._added[key] = self._added.get(key, 0) + number

    def fail(self, error: BaseException | str, record: object = None) -> None:
        """Count one failed record. The first few of each type of ``error`` are kept; of ``record`` type and keys."""
        self._fail(error, record)

    def _fail(self, error: BaseException | str, record: object, kind: str = "str") -> None:
        self._add("failed", 1)
        samples = self._events.get(events.RECORD_ERROR) or self._events.setdefault(events.RECORD_ERROR, Samples())
        cast("Samples", samples).add(error, record, kind)

    def _sums(self, event: str, most: int) -> Sums:
        return cast("Sums", self._events.get(event) or self._events.setdefault(event, Sums(event, most)))

    def dataset(
        self,
        name: str,
        operation: str,
        *,
        records: int | None = None,
        bytes: int | None = None,
        watermark: object = None,
    ) -> None:
        """A dataset was read or written: ``operation`` is extract, read, write, insert, update or delete.

        Calls with the same name and operation add up. ``watermark`` (a date, a datetime, or ISO 8601) says up to when
        the data is complete; the latest one stays.
        """
        if (name_ := needed(name, "dataset")) is None or (operation_ := needed(operation, "operation")) is None:
            return
        self._sums(events.DATASET, MOST_DATASETS).add(
            {a.DATASET_NAME: name_, a.DATASET_OPERATION: operation_},
            {a.DATASET_RECORDS: whole(records, "records"), a.DATASET_BYTES: whole(bytes, "bytes")},
            moment(watermark),
        )

    def check(
        self,
        name: str,
        *,
        dataset: str | None = None,
        kind: str | None = None,
        passed: int | None = None,
        failed: int | None = None,
    ) -> None:
        """A quality check was made; ``passed`` and ``failed`` count records. The same check of a dataset adds up."""
        if (name_ := needed(name, "check")) is None:
            return
        self._sums(events.CHECK, MOST_CHECKS).add(
            {a.CHECK_NAME: name_, a.DATASET_NAME: text(dataset, "dataset"), a.CHECK_KIND: text(kind, "kind")},
            {a.CHECK_PASSED: whole(passed, "passed"), a.CHECK_FAILED: whole(failed, "failed")},
        )

    @property
    def done(self) -> int:
        """What there is of ``total`` by now: the records that went in."""
        return self.records.get("in", 0)

    @property
    def records(self) -> dict[str, int]:
        """The counts until now: in, out, failed, dropped, duplicate, bytes; those that are known."""
        known: dict[str, int] = {}
        for (name, _), number in self._added.copy().items():
            known[name] = known.get(name, 0) + number
        pulled = self.pulled + sum(operation.pulled for operation in list(self.operations.values()))
        if pulled or self.upstream or self._tracks:
            known["records_in"] = known.get("records_in", 0) + pulled + self._counter.seen
        if self.lazy and "records_out" not in known:
            known["records_out"] = self.yielded
        return {name.removeprefix("records_"): min(known[name], LARGEST) for name in _COUNTS if name in known}

    # --- life -----------------------------------------------------------------------------------------------------

    def start_span(self, outer: Context, started: int) -> Span:
        """See Scope."""
        registry.end_abandoned()
        frame: Frame | None = outer.get(FRAME_KEY)  # type: ignore[assignment]
        attributes = {**(self.attributes or {}), a.STAGE_NAME: self.name}  # in this order: see Run.start_span
        run = self._run = frame.run if frame is not None else None
        if run is not None:
            attributes[a.PIPELINE_NAME] = run.name
            attributes[a.RUN_ID] = run.id
            if run.backfill:  # a stage arrives before its run, and is counted then
                attributes[a.RUN_BACKFILL] = True
            run.stages[id(self)] = self
        if self.kind:
            attributes[a.STAGE_KIND] = self.kind
        if self.late:
            attributes[a.STAGE_LATE] = True
        return registry.tracer().start_span(f"stage {self.name}", outer, attributes=attributes, start_time=started)

    def done_with(self, operation: Operation, own: int, *, failed: bool) -> None:
        """An operation of the stage has ended, after ``own`` nanoseconds of its own."""
        self.operations.pop(id(operation), None)
        self.pulled += operation.pulled
        self.waited += operation.waited
        key = (operation.name, get_ident())
        if key not in self.spent and len(self.spent) >= _MOST_OPERATIONS:
            key = (_OTHERS, key[1])
        spent = self.spent.setdefault(key, [0, 0, 0])
        spent[0] += 1
        spent[1] += failed
        spent[2] += own

    def again(self) -> Stage:
        """A stage like this one, not begun."""
        return Stage(self.name, self.attributes, kind=self.kind, reconcile=self.reconcile)

    def sweep(self, at: int, *, failed: bool) -> None:
        """End it with its run, ``at`` a time of the steady clock: aborted, unless its consumer just wanted no more."""
        if self.lazy and not self.entered and not failed:
            self.end(None, exhausted=False, at=at)
        else:
            self.end(results.Aborted(), at=at)

    def close(self, error: BaseException | None, exhausted: bool | None, ended: int) -> None:
        """Write the counts, times and result, and end the span."""
        if self._run is not None:
            self._run.stages.pop(id(self), None)
        for operation in list(self.operations.values()):
            operation.end(error, exhausted)
        result = results.stage_result(error)
        if self.span.is_recording():
            self.span.set_attributes(self._figures(result, exhausted))
            for source in list(self._events.values()):
                for name, attributes in source.events():
                    self.span.add_event(name, attributes)
        if error is not None and result != "success" and not isinstance(error, results.Aborted):
            trace_id = self.span.get_span_context().trace_id
            seen = results.recorded(error, trace_id)
            self.write_error(error, result, results.origin(error, self.name, trace_id), trace=not seen)
        self.span.end(ended)

    def _figures(self, result: str, exhausted: bool | None) -> dict[str, AttributeValue]:
        counts = self.records
        figures: dict[str, AttributeValue] = {f"pipeline.records.{name}": value for name, value in counts.items()}
        figures[a.STAGE_RESULT] = result
        figures[a.STAGE_SELF_TIME] = self.own_time(self.left) / 1e9
        if self.waited:
            figures[a.STAGE_WAIT_TIME] = self.waited / 1e9
        if exhausted is False:
            figures[a.STAGE_EXHAUSTED] = False
        if self.upstream:
            figures[a.STAGE_UPSTREAM] = list(self.upstream)
        if self.spent:
            figures |= _operations(self.spent)
        if self.others_dropped:
            figures[a.STAGE_SPANS_DROPPED] = self.others_dropped
        if (self.reconcile or self.kind in a.ONE_TO_ONE_KINDS) and "in" in counts and "out" in counts:
            gone = counts["out"] + counts.get("failed", 0) + counts.get("dropped", 0)
            figures[a.RECORDS_UNACCOUNTED] = max(-LARGEST, counts["in"] - gone)
        return figures


def _operations(spent: dict[tuple[str, int], list[int]]) -> dict[str, AttributeValue]:
    sums: dict[str, list[int]] = {}
    for (name, _), numbers in spent.copy().items():
        sums[name] = [was + more for was, more in zip(sums.get(name, (0, 0, 0)), numbers, strict=True)]
    most = sorted(sums.items(), key=lambda item: (-item[1][2], item[0]))
    if len(most) > _MOST_SHOWN:
        rest = [numbers for _, numbers in most[_MOST_SHOWN - 1 :]]
        most = [*most[: _MOST_SHOWN - 1], (_OTHERS, [sum(column) for column in zip(*rest, strict=True)])]
    return {
        a.OPERATIONS_NAMES: [name for name, _ in most],
        a.OPERATIONS_COUNTS: [count for _, (count, _, _) in most],
        a.OPERATIONS_ERRORS: [errors for _, (_, errors, _) in most],
        a.OPERATIONS_SELF_TIMES: [nanoseconds / 1e9 for _, (_, _, nanoseconds) in most],
    }


def current_stage() -> Stage:
    """The stage whose code is executing; outside any a detached one, on which every call works and is forgotten."""
    frame = current_frame()
    return (frame.stage if frame is not None else None) or Stage("detached")


def current_run() -> Run:
    """The run whose code is executing. Outside any run a detached one, on which every call works and is forgotten."""
    frame = current_frame()
    return (frame.run if frame is not None else None) or Run("detached")
