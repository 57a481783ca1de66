"""Row 10: a store with many runs, read in lists and run pages; with the argument ``bytes`` it prints bytes per run.

The first runs are written as a processor writes them. The others are copies of their rows, each with ids and times of
its own, which SQLite makes by itself: a million runs in the time that a bench has.
"""

from __future__ import annotations

import sqlite3
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cases import child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.store.reading import Reader

PIPELINES, STAGES = 200, ("extract", "clean", "enrich", "validate", "load")
MOST = 40
WRITTEN = {10: 1000, 5: 100, 1: 8}
"""How many runs are written, by the items per round that the bench's scale asks for."""
FEW, MANY = 10, 1000
"""How often a store then has them."""
DAYS = 30
END = 1_767_225_600 * 10**9
_SHARED = Path(child.FOLDER).parent  # with the other processes of this bench: the stores are made once


def _runs(number: int) -> Iterator[Run | Stage]:
    """So many runs over thirty days, of five stages each, with what a plain pipeline tells."""
    from otel_pipeline.model import Records, Run, Stage

    for n in range(number):
        start = END - DAYS * 86_400 * 10**9 + n * (DAYS * 86_400 * 10**9 // number)
        trace, run_id, pipeline = (
            uuid.uuid4().hex,
            str(uuid.UUID(int=(n << 80) | uuid.uuid4().int >> 48)),
            n % PIPELINES,
        )
        name, result = f"orders_etl_{pipeline:03}", "failure" if n % 17 == 0 else "success"
        yield Run(trace, uuid.uuid4().hex[:16], run_id, name, result, start, start + 60_123_456_789, self_time=0.0123)
        for k, stage in enumerate(STAGES):
            begin = start + k * 12_345_678_901
            yield Stage(
                trace, uuid.uuid4().hex[:16], stage, result if stage == "load" else "success", begin,
                begin + 11_987_654_321, 3.1415926 + k, 0.0271828, run_id, name, None,
                Records(5978 + n, 5970 + n, 3, 5),
            )  # fmt: skip


def store(copies: int, written: int) -> Path:
    """The store with ``copies`` times ``written`` runs, made when it is not there."""
    path = _SHARED / f"history-{copies}x{written}.db"
    if not path.exists():
        from otel_pipeline.store.store import Store

        made = path.with_suffix(".part")
        filled, values = Store(made), list(_runs(written))
        for start in range(0, len(values), 600):
            filled.write(values[start : start + 600], now=END)
        filled.close()
        with sqlite3.connect(made, isolation_level=None) as database:
            _copy(database, copies, written)
        database.close()
        made.rename(path)
    return path


def _copy(database: sqlite3.Connection, copies: int, written: int) -> None:
    # A copy's runs lie between those of the original, so that all are spread over the same time.
    gap = DAYS * 86_400 * 10**9 // written // copies
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"):  # 256 MiB, for the indexes
        database.execute(f"PRAGMA {pragma}")
    database.execute("BEGIN")
    for n in range(1, copies):
        shift, later = n * written, n * gap
        database.execute(
            "INSERT INTO run_key SELECT id + ?, printf('%08x', ?) || substr(key, 9), randomblob(16), pipeline, last + ?"
            " FROM run_key WHERE id <= ?",
            (shift, n, later, written),
        )
        database.execute(
            "INSERT INTO run SELECT run + ?, randomblob(8), pipeline, attempt, result, started + ?, ended + ?, seen,"
            " final, backfill, self_time, details FROM run WHERE run <= ?",
            (shift, later, later, written),
        )
        database.execute(
            "INSERT INTO stage SELECT run + ?, randomblob(8), name, kind, result, started + ?, duration, self_time,"
            " wait_time, records_in, records_out, records_failed, records_dropped, records_duplicate, records_bytes,"
            " details FROM stage WHERE run <= ?",
            (shift, later, written),
        )
    database.execute("DELETE FROM daily")
    database.execute(
        "INSERT INTO daily SELECT pipeline, ended / 86400000000000, final, backfill, result, count(*) FROM run"
        " GROUP BY 1, 2, 3, 4, 5"
    )
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL")


def _list(reader: Reader, pipelines: int) -> None:
    assert len(reader.outcomes(MOST)) == pipelines


def _page(reader: Reader, pipelines: int) -> None:
    [latest] = reader.last_runs(f"orders_etl_{pipelines // 2:03}", 1)
    [record] = reader.find_run(latest.run_id)
    assert len(reader.stages_of(record)) == len(STAGES)
    reader.last_good_before(record)


def _working(side: str, copies: int, read: Callable[[Reader, int], None]) -> Callable[[int], Callable[[], None]]:
    def prepare(size: int) -> Callable[[], None]:
        from otel_pipeline.store.store import Store

        filled, pipelines = Store(store(copies, WRITTEN[size])), min(PIPELINES, WRITTEN[size])

        def work() -> None:
            began = time.monotonic()
            for _ in range(size):
                with filled.reading() as reader:
                    read(reader, pipelines)
            with (_SHARED / f"{side}.wall").open("a") as file:
                file.write(f"{(time.monotonic() - began) / size}\n")

        return work

    return prepare


def _bytes(side: str, written: int) -> float:
    few, many = (store(copies, written).stat().st_size for copies in (FEW, MANY))
    if side == "of 10⁴":
        return few / (FEW * written)
    return (many - few) / ((MANY - FEW) * written)


SIDES = {
    side: _working(side, copies, read)
    for what, read in (("list", _list), ("page", _page))
    for side, copies in ((f"{what}, 10⁶ runs", MANY), (f"{what}, 10⁴ runs", FEW))
}

if __name__ == "__main__":
    if sys.argv[3:] == ["bytes"]:
        print(_bytes(sys.argv[1], WRITTEN[int(sys.argv[2])]))
    else:
        child.resident(SIDES)
