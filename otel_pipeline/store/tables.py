"""The tables. ``docs/store.md`` says why they are laid out like this.

Runs and stages are the ledger: their primary key is (run key, span id), so a span that arrives again inserts nothing.
Times are nanoseconds since the epoch, and a stage's durations nanoseconds; span and trace ids are bytes; what only
people read is compact JSON in ``details``, null where there is none. Each column says what becomes of it when a row is
merged into one that is there. No foreign keys: whoever writes under a run key holds that key's row until the end of the
transaction.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from otel_pipeline.kpi.cardinality import MOST_BUCKETS

Rule = Literal["add", "greatest", "replace"]
"""How a column of a row that is there takes a value that arrives. One without a rule stays as it is."""

metadata = MetaData()


def _column(name: str, kind: Any, rule: Rule | None = None, *, null: bool = False) -> Column[Any]:
    return Column(name, kind, nullable=null, info={"rule": rule})


meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

# One row for each run id: a number for it, and what its spans have in common, so that they need not repeat it.
run_keys = Table(
    "run_key",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _column("key", Text),
    _column("trace_id", LargeBinary),
    _column("pipeline", Text, null=True),
    _column("last", BigInteger, "greatest"),  # the last sign of life or end under this key
    UniqueConstraint("key"),
    info={"identity": ("key",)},
)
Index("run_key_by_last", run_keys.c.last)

runs = Table(
    "run",
    metadata,
    _column("run", BigInteger),
    _column("span_id", LargeBinary),
    _column("pipeline", Text, "replace"),
    _column("attempt", BigInteger, "replace"),
    _column("result", Text, "replace", null=True),  # null while the run has not ended
    _column("started", BigInteger, "replace"),
    _column("ended", BigInteger, "replace", null=True),
    _column("seen", BigInteger, "replace", null=True),  # the last sign of life; null once it has ended
    _column("final", Integer, "replace"),  # 1 for the last attempt of those that have ended
    _column("backfill", Integer, "replace"),  # 1 for a backfill, which is counted apart
    _column("self_time", Double, "replace", null=True),
    _column("details", Text, "replace", null=True),
    PrimaryKeyConstraint("run", "span_id"),
    sqlite_with_rowid=False,
)
Index("run_by_start", runs.c.pipeline, runs.c.started, runs.c.ended, runs.c.result, runs.c.backfill)
Index("run_by_end", runs.c.pipeline, runs.c.final, runs.c.result, runs.c.ended, runs.c.backfill, runs.c.started)
REGULAR = runs.c.backfill == literal_column("0")
"""Runs that are no backfills."""
_open = runs.c.result.is_(None)
Index("run_open", runs.c.seen, runs.c.pipeline, sqlite_where=_open, postgresql_where=_open)

# How many runs ended on each day of UTC, so that nobody has to count a million of them (daily.py).
daily = Table(
    "daily",
    metadata,
    _column("pipeline", Text),
    _column("day", BigInteger),  # since the epoch
    _column("final", Integer),
    _column("backfill", Integer),
    _column("result", Text),
    _column("runs", BigInteger, "add"),
    PrimaryKeyConstraint("pipeline", "day", "final", "backfill", "result"),
    sqlite_with_rowid=False,
)

COUNTS = ("in", "out", "failed", "dropped", "duplicate", "bytes")

stages = Table(
    "stage",
    metadata,
    _column("run", BigInteger),
    _column("span_id", LargeBinary),
    _column("name", Text),
    _column("kind", Text, null=True),
    _column("result", Text, null=True),  # null: success, as nearly all are
    _column("started", BigInteger),
    _column("duration", BigInteger),
    _column("self_time", BigInteger),
    _column("wait_time", BigInteger),
    *(_column(f"records_{name}", BigInteger, null=True) for name in COUNTS),
    _column("details", Text, null=True),
    PrimaryKeyConstraint("run", "span_id"),
    sqlite_with_rowid=False,
)


NUMBERS = ("value", "count", *(f"b{number}" for number in range(MOST_BUCKETS)))
"""A counter has a value, a histogram also a count and its buckets; what is beyond that is null."""


def _numbers(kind: Any, rule: Rule) -> list[Column[Any]]:
    return [_column(name, kind, rule, null=name != "value") for name in NUMBERS]


def _series(name: str, kind: Any) -> Table:
    return Table(
        name,
        metadata,
        _column("kpi", Text),
        _column("labels", Text),  # a JSON list
        _column("created", BigInteger),
        *_numbers(kind, "add"),
        PrimaryKeyConstraint("kpi", "labels"),
        sqlite_with_rowid=False,
    )


sums = _series("sum", BigInteger)  # labels in the order of the metric's attributes
taken = _series("taken", BigInteger)  # what corrections have taken back of the sums

checked = Table(
    "checked",
    metadata,
    _column("dataset", Text),
    _column("run_id", Text),
    _column("passed", BigInteger, "add"),
    _column("failed", BigInteger, "add"),
    _column("ended", BigInteger, "greatest"),
    PrimaryKeyConstraint("dataset", "run_id"),
    sqlite_with_rowid=False,
)
Index("checked_by_end", checked.c.dataset, checked.c.ended, checked.c.run_id)

watermarks = Table(
    "watermark",
    metadata,
    _column("dataset", Text),
    _column("newest", BigInteger, "greatest"),
    PrimaryKeyConstraint("dataset"),
    sqlite_with_rowid=False,
)

exported = Table(
    "exported",
    metadata,
    _column("kpi", Text),
    _column("labels", Text),
    # When it was 0 for Prometheus; null for a series that is older than the first export.
    _column("zero", BigInteger, null=True),
    _column("delivered", Integer, "greatest"),  # 1 once that 0 has arrived
    PrimaryKeyConstraint("kpi", "labels"),
    sqlite_with_rowid=False,
)

FORWARD = "forward"
lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),  # the last moment that was exported
)

watched = Table(
    "watched",
    metadata,
    _column("pipeline", Text),
    _column("changes", BigInteger, "add"),  # raised whenever there is something new of it
    _column("checked", BigInteger),  # what that was when somebody looked at it
    _column("next", BigInteger, null=True),  # when time alone makes it worth looking at
    _column("file", Text, null=True),  # what a config file declares of it
    _column("file_since", BigInteger, null=True),
    PrimaryKeyConstraint("pipeline"),
    sqlite_with_rowid=False,
)

breaches = Table(
    "breach",
    metadata,
    Column("pipeline", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # the due time, the run or the success
    Column("about", BigInteger, nullable=False),  # when that was
    Column("since", BigInteger, nullable=False),
    Column("resolved", BigInteger),
    Column("run_id", Text),
    Column("value", BigInteger),
    Column("low", BigInteger),
    Column("high", BigInteger),
    Column("learned", Integer),
    Column("noted", BigInteger, nullable=False),
    Column("withdrawn", BigInteger),
    Column("untold", Integer, nullable=False),  # events that are due: 1 of its state, 2 also that it was found
    PrimaryKeyConstraint("pipeline", "kind", "subject"),
    sqlite_with_rowid=False,
)
Index("breach_by_time", breaches.c.pipeline, breaches.c.about)
Index("breach_by_since", breaches.c.since)
UNTOLD = breaches.c.untold > literal_column("0")
Index("breach_untold", breaches.c.since, sqlite_where=UNTOLD, postgresql_where=UNTOLD)
_unresolved = breaches.c.resolved.is_(None)
Index("breach_open", breaches.c.pipeline, breaches.c.kind, sqlite_where=_unresolved, postgresql_where=_unresolved)

# Metrics that processes send (kpi/streams.py): what each is, and what adds up to its series.
measures = Table(
    "measure",
    metadata,
    _column("name", Text),
    _column("instrument", Text),
    _column("unit", Text),
    _column("description", Text),
    _column("bounds", Text),  # a JSON list
    PrimaryKeyConstraint("name"),
    sqlite_with_rowid=False,
)


def _of_streams(name: str, numbers: list[Column[Any]]) -> Table:
    return Table(
        name,
        metadata,
        _column("kpi", Text),
        _column("labels", Text),  # a JSON list: key, value, key, value …
        _column("stream", LargeBinary),  # 16 bytes that tell whose it is
        _column("time", BigInteger, "greatest"),
        *numbers,
        PrimaryKeyConstraint("kpi", "labels", "stream"),
        sqlite_with_rowid=False,
    )


streams = _of_streams("stream", _numbers(Double, "greatest"))
Index("stream_by_time", streams.c.time)
bases = _series("base", Double)  # labels as those of streams
# Gauges, whoever measured them (the stream is empty), and up-down counters.
latest = _of_streams("latest", [_column("value", Double, "replace")])
latest.info["newest"] = ("time", "value")
