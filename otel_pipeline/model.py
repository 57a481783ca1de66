"""The values that flow from spans to whoever reads them: runs, stages and what they reported.

::

    Run ──< Stage ──< Dataset, Check, RecordError, Operation
                └─── Records

Frozen, without behaviour that needs a clock or a store. Times are nanoseconds since the epoch, durations seconds.
A count that nobody reported is ``None``: unknown is not zero.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

WRITTEN = ("write", "insert", "update")
"""What is done to a dataset when records are written to it."""


@dataclass(frozen=True)
class Records:
    """What happened to records: each count in records, ``bytes`` in bytes, ``None`` where unknown."""

    in_: int | None = None
    out: int | None = None
    failed: int | None = None
    dropped: int | None = None
    duplicate: int | None = None
    bytes: int | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, name.name) is not None for name in fields(self))


@dataclass(frozen=True)
class Dataset:
    """A table, file or topic that a stage read or wrote."""

    name: str
    operation: str
    records: int | None = None
    bytes: int | None = None
    watermark: str | None = None


@dataclass(frozen=True)
class Check:
    """A quality check: how many records passed and failed."""

    name: str
    dataset: str | None = None
    kind: str | None = None
    passed: int | None = None
    failed: int | None = None


@dataclass(frozen=True)
class RecordError:
    """A sample of a failed record: type and keys; values only where the setting ``record_values`` asks for them."""

    type: str
    message: str
    record_type: str | None = None
    keys: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """What a stage did many times: ``count`` times, of which ``errors`` failed, in ``self_time`` seconds in all."""

    name: str
    count: int
    errors: int = 0
    self_time: float = 0.0


@dataclass(frozen=True)
class Stage:
    """One stage of one run, ended."""

    trace_id: str
    span_id: str
    name: str
    result: str
    started: int
    ended: int
    self_time: float
    wait_time: float = 0.0
    run_id: str | None = None
    pipeline: str | None = None
    kind: str | None = None
    records: Records = field(default_factory=Records)
    exhausted: bool | None = None
    late: bool = False
    upstream: tuple[str, ...] = ()
    unaccounted: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_stage: str | None = None
    backfill: bool = False
    datasets: tuple[Dataset, ...] = ()
    checks: tuple[Check, ...] = ()
    record_errors: tuple[RecordError, ...] = ()
    operations: tuple[Operation, ...] = ()
    """Those that took most time first; their time is no self time of the stage."""

    @property
    def duration(self) -> float:
        """Seconds from the first pull (or the call) to the end."""
        return (self.ended - self.started) / 1e9


@dataclass(frozen=True)
class Run:
    """One run of a pipeline, ended."""

    trace_id: str
    span_id: str
    run_id: str
    pipeline: str
    result: str
    started: int
    ended: int
    self_time: float | None = None
    attempt: int = 1
    backfill: bool = False
    """It fills in old data, and is counted apart; so are its stages' watermarks and checks."""
    error_type: str | None = None
    error_message: str | None = None
    error_stage: str | None = None
    skip_reason: str | None = None
    not_started: tuple[str, ...] = ()
    open_stages: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: str | None = None
    cpu_time: float | None = None
    memory_peak: int | None = None
    declared: str | None = None
    """What its author expects of the pipeline, as text (``declaration.py``)."""

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return (self.ended - self.started) / 1e9


def defaults(kind: type[Any]) -> dict[str, Any]:
    """The default of each field of a frozen class; None for those that have none."""
    made = ((each.name, each.default, each.default_factory) for each in fields(kind))
    return {
        name: factory() if factory is not MISSING else None if default is MISSING else default
        for name, default, factory in made
    }


def assembled(kind: type[T], values: dict[str, Any]) -> T:
    """A value of a frozen class, of ``values`` for each of its fields, which are its own from now on.

    Where thousands are made in a second: the constructor of a frozen class takes five times as long.
    """
    made = object.__new__(kind)
    object.__setattr__(made, "__dict__", values)
    return made


def records_of(stages: Iterable[Stage]) -> int | None:
    """A run's records: those of the datasets that it wrote, else what came out of its last stage, or went into it."""
    stages = list(stages)
    written = [d.records for s in stages for d in s.datasets if d.operation in WRITTEN and d.records is not None]
    if written:
        return sum(written)
    last = max((stage for stage in stages if stage.records), key=lambda s: (s.ended, s.span_id), default=None)
    if last is None:
        return None
    return last.records.in_ if last.records.out is None else last.records.out
