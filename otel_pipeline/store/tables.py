"""The tables. ``docs/store.md`` says why they are laid out like this.

Runs and stages are the ledger: their primary key is (run id, span id), so a span that arrives again inserts nothing.
Times are nanoseconds since the epoch; ids are bytes; what only people read is compact JSON in ``details``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

metadata = MetaData()

MOST_BUCKETS = 20
"""The widest histogram has as many buckets, one column each."""

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

run_ids = Table(
    "run_id",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Text, nullable=False, unique=True),
)

runs = Table(
    "run",
    metadata,
    Column("run", Integer, ForeignKey(run_ids.c.id), nullable=False),
    Column("span_id", LargeBinary, nullable=False),
    Column("trace_id", LargeBinary, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("result", Text),  # null while the run has not ended
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("seen", BigInteger, nullable=False),  # the last sign of life, or the end
    Column("final", Integer, nullable=False),  # 1 for the last attempt of those that have ended
    Column("details", Text, nullable=False),
    PrimaryKeyConstraint("run", "span_id"),
    sqlite_with_rowid=False,
)
Index("run_by_pipeline", runs.c.pipeline, runs.c.started)
Index("run_by_result", runs.c.pipeline, runs.c.result, runs.c.ended, runs.c.final)
Index("run_by_seen", runs.c.seen)

COUNTS = ("in", "out", "failed", "dropped", "duplicate", "bytes")

stages = Table(
    "stage",
    metadata,
    Column("run", Integer, ForeignKey(run_ids.c.id), nullable=False),
    Column("span_id", LargeBinary, nullable=False),
    Column("trace_id", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("pipeline", Text),
    Column("result", Text, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
    Column("self_time", Float, nullable=False),
    Column("wait_time", Float, nullable=False),
    *(Column(f"records_{name}", BigInteger) for name in COUNTS),
    Column("details", Text, nullable=False),
    PrimaryKeyConstraint("run", "span_id"),
    sqlite_with_rowid=False,
)
Index("stage_by_end", stages.c.ended)


def _series(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("kpi", Text, nullable=False),
        Column("labels", Text, nullable=False),  # a JSON list, in the order of the metric's attributes
        Column("width", Integer, nullable=False),  # how many of the numbers it has
        Column("created", BigInteger, nullable=False),
        Column("value", BigInteger, nullable=False),
        Column("count", BigInteger, nullable=False),
        *(Column(f"b{number}", BigInteger, nullable=False) for number in range(MOST_BUCKETS)),
        PrimaryKeyConstraint("kpi", "labels"),
        sqlite_with_rowid=False,
    )


sums = _series("sum")
taken = _series("taken")  # what corrections have taken back of the sums
NUMBERS = ("value", "count", *(f"b{number}" for number in range(MOST_BUCKETS)))

checked = Table(
    "checked",
    metadata,
    Column("dataset", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("passed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
    PrimaryKeyConstraint("dataset", "run_id"),
    sqlite_with_rowid=False,
)
Index("checked_by_end", checked.c.dataset, checked.c.ended, checked.c.run_id)

watermarks = Table(
    "watermark", metadata, Column("dataset", Text, primary_key=True), Column("newest", BigInteger, nullable=False)
)

exported = Table(
    "exported",
    metadata,
    Column("kpi", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("zero", BigInteger),  # when it was 0 for Prometheus; null for a series that is older than the first export
    Column("delivered", Integer, nullable=False),  # 1 once that 0 has arrived
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
