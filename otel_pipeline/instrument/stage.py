"""A stage: one step of a run, and what it says of its records."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from opentelemetry import trace

from otel_pipeline.instrument import registry, results
from otel_pipeline.instrument.context import FRAME_KEY, current_frame
from otel_pipeline.instrument.records import MOST_CHECKS, MOST_DATASETS, Samples, Sums, Tracked, moment, text, whole
from otel_pipeline.instrument.run import Run
from otel_pipeline.instrument.scope import SCOPE_NAME, Scope
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv import events
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from otel_pipeline.instrument.frame import Frame

T = TypeVar("T")
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
        "_checks",
        "_datasets",
        "_run",
        "_samples",
        "_tracked",
        "ends_run",
        "kind",
        "late",
        "lazy",
        "others",
        "others_dropped",
        "reconcile",
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
        self.ends_run: Run | None = None  # a run that lasts as long as this stage, whose iterator it returned
        self.upstream: dict[str, None] = {}
        self.others = 0  # spans of others below this stage
        self.others_dropped = 0
        self._run: Run | None = None
        self._added: dict[str, int] = {}
        self._tracked: list[Tracked] = []
        self._samples: Samples | None = None
        self._datasets: Sums | None = None
        self._checks: Sums | None = None

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

        >>> from otel_pipeline import stage
        >>> with stage("extract") as extract:
        ...     total = sum(extract.track([1, 2, 3]))
        >>> extract.records["in"]
        3
        """
        tracked = Tracked()
        self._tracked.append(tracked)
        if isinstance(rows, AsyncIterable):
            return tracked.over_async(rows)
        return tracked.over(rows)

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
                self._added[name] = self._added.get(name, 0) + number

    def fail(self, error: BaseException | str, record: object = None) -> None:
        """Count one failed record. The first few of each type of ``error`` are kept; of ``record`` type and keys."""
        self._added["failed"] = self._added.get("failed", 0) + 1
        if self._samples is None:
            self._samples = Samples()
        self._samples.add(error, record)

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
        if self._datasets is None:
            self._datasets = Sums(events.DATASET, MOST_DATASETS)
        self._datasets.add(
            {a.DATASET_NAME: text(name, "dataset"), a.DATASET_OPERATION: text(operation, "operation")},
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
        if self._checks is None:
            self._checks = Sums(events.CHECK, MOST_CHECKS)
        self._checks.add(
            {
                a.CHECK_NAME: text(name, "check"),
                a.DATASET_NAME: text(dataset, "dataset"),
                a.CHECK_KIND: text(kind, "kind"),
            },
            {a.CHECK_PASSED: whole(passed, "passed"), a.CHECK_FAILED: whole(failed, "failed")},
        )

    @property
    def records(self) -> dict[str, int]:
        """The counts until now: in, out, failed, dropped, duplicate, bytes; those that are known."""
        known = dict(self._added)
        if self.pulled or self._tracked:
            known["records_in"] = known.get("records_in", 0) + self.pulled + sum(each.seen for each in self._tracked)
        if self.lazy and "records_out" not in known:
            known["records_out"] = self.yielded
        return {name.removeprefix("records_"): known[name] for name in _COUNTS if name in known}

    # --- life -----------------------------------------------------------------------------------------------------

    def start_span(self, outer: Context, started: int) -> Span:
        """See Scope."""
        registry.end_abandoned()
        frame: Frame | None = outer.get(FRAME_KEY)  # type: ignore[assignment]
        attributes: dict[str, AttributeValue] = {a.STAGE_NAME: self.name}
        run = self._run = frame.run if frame is not None else None
        if run is not None:
            attributes[a.PIPELINE_NAME] = run.name
            attributes[a.RUN_ID] = run.id
            run.stages[id(self)] = self
        if self.kind:
            attributes[a.STAGE_KIND] = self.kind
        if self.late:
            attributes[a.STAGE_LATE] = True
        if self.attributes:
            attributes |= self.attributes
        tracer = trace.get_tracer(SCOPE_NAME, __version__)
        return tracer.start_span(f"stage {self.name}", outer, attributes=attributes, start_time=started)

    def again(self) -> Stage:
        """A stage like this one, not begun."""
        return Stage(self.name, self.attributes, kind=self.kind, reconcile=self.reconcile)

    def abort(self, at: int) -> None:
        """End it from outside, while it is open, ``at`` a time of the steady clock."""
        self.end(results.Aborted(), at=at)

    def close(self, error: BaseException | None, exhausted: bool | None, ended: int) -> None:
        """Write the counts, times and result, and end the span."""
        if self._run is not None:
            self._run.stages.pop(id(self), None)
        result = results.stage_result(error)
        if self.span.is_recording():
            self.span.set_attributes(self._figures(result, exhausted))
            for source in (self._datasets, self._checks, self._samples):
                for name, attributes in source.events() if source is not None else ():
                    self.span.add_event(name, attributes)
        if error is not None and result != "success" and not isinstance(error, results.Aborted):
            first = results.known_origin(error)
            self.write_error(error, result, results.origin(error, self.name), trace=first is None)
        self.span.end(ended)
        if self.ends_run is not None:
            self.ends_run.end(None if isinstance(error, results.Aborted) else error)

    def _figures(self, result: str, exhausted: bool | None) -> dict[str, AttributeValue]:
        counts = self.records
        figures: dict[str, AttributeValue] = {f"pipeline.records.{name}": value for name, value in counts.items()}
        figures[a.STAGE_RESULT] = result
        figures[a.STAGE_SELF_TIME] = self.own_time() / 1e9
        if self.waited:
            figures[a.STAGE_WAIT_TIME] = self.waited / 1e9
        if exhausted is False:
            figures[a.STAGE_EXHAUSTED] = False
        if self.upstream:
            figures[a.STAGE_UPSTREAM] = list(self.upstream)
        if self.others_dropped:
            figures[a.STAGE_SPANS_DROPPED] = self.others_dropped
        if (self.reconcile or self.kind in a.ONE_TO_ONE_KINDS) and "in" in counts and "out" in counts:
            gone = counts["out"] + counts.get("failed", 0) + counts.get("dropped", 0)
            figures[a.RECORDS_UNACCOUNTED] = counts["in"] - gone
        return figures


def current_stage() -> Stage:
    """The stage whose code is executing; outside any a detached one, on which every call works and is forgotten."""
    frame = current_frame()
    return (frame.stage if frame is not None else None) or Stage("detached")


def current_run() -> Run:
    """The run whose code is executing. Outside any run a detached one, on which every call works and is forgotten."""
    frame = current_frame()
    return (frame.run if frame is not None else None) or Run("detached")
