"""The store counts exactly once, keeps what it was given, and says clearly when it cannot."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.model import Check, Dataset, RecordError, Records
from otel_pipeline.store.errors import StoreBusyError, StoreError
from otel_pipeline.store.store import RETENTION_NS, Store
from tests.kpi.events import NOW, SECOND, TRACE, deliveries, histories, patient, run, seen, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.kpi.state import Figure
    from otel_pipeline.kpi.values import Value

HOUR = 3600 * SECOND


class KilledError(Exception):
    """The process is gone in the middle of a transaction."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "store.db")


def figures(store: Store, now: int = NOW) -> list[Figure]:
    with store.reading() as reader:
        return [figure for figure in reader.figures(now) if any(figure.numbers)]


@given(st.data())
@settings(patient, max_examples=40)
def test_any_arrival_gives_what_the_engine_gives_in_memory(data: st.DataObject) -> None:
    """Order, repeats, deaths within a transaction and before the acknowledgement: the same figures in both hosts."""
    history = data.draw(histories)
    truth = MemoryEngine()
    truth.consume(history)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.db")
        for batch, committed in data.draw(deliveries(history)):

            def arriving(batch: list[Value] = batch, committed: bool = committed) -> Iterator[Value]:
                yield from batch
                if not committed:
                    raise KilledError

            if committed:
                store.write(arriving(), now=NOW)
            else:
                with pytest.raises(KilledError):
                    store.write(arriving(), now=NOW)
        assert figures(store) == [figure for figure in truth.figures(NOW) if any(figure.numbers)]


def test_a_run_and_its_stages_come_back_as_they_were(store: Store) -> None:
    """Every field, also those that are in neither column: unknown stays unknown, false stays false."""
    ended = replace(
        run(), error_type="E", error_message="m\n\x00é", not_started=("x",), exit_code=0, memory_peak=5, cpu_time=0.5
    )
    full = stage(
        records=Records(1, 0, None, 3, 4, 5), exhausted=False, late=True, upstream=("a", "b"), unaccounted=-2,
        kind="load",
        datasets=(Dataset("t", "write", 0, None, "2026-01-01"),), checks=(Check("c", "t", "schema", 1, 0),),
        record_errors=(RecordError("ValueError", "m", "dict", ("k",)),), error_type="E", error_stage="load",
    )  # fmt: skip
    bare = stage(span=101, name="extract")
    store.write([full, bare, ended], now=NOW)
    with store.reading() as reader:
        [record] = reader.last_runs("orders", 10)
        assert record.run == ended
        assert reader.stages_of(record) == [full, bare]
        assert {event for _, event, _ in reader.facts_ended(0, NOW)} == {
            "run",
            "stage",
            "records",
            "dataset",
            "check",
        } | {"error"}
        assert not list(reader.facts_ended(NOW, NOW + 1))


def test_runs_are_found_by_name_id_and_beginning(store: Store) -> None:
    """``last`` is the latest start; the last good run is one of the same pipeline that started before."""
    runs = [replace(run(f"r{n}", result, span=n), started=NOW - (9 - n) * SECOND, ended=NOW - (9 - n) * SECOND + 1)
            for n, result in enumerate(("success", "failure", "success"), 1)]  # fmt: skip
    store.write([*runs, replace(run("x_1", span=9), pipeline="news", started=NOW - 60 * SECOND)], now=NOW)
    with store.reading() as reader:
        assert reader.pipelines() == ["news", "orders"]
        assert [record.run_id for record in reader.last_runs("orders", 2)] == ["r3", "r2"]
        [last] = reader.find_run("last")
        assert last.run == runs[2]
        assert [record.run_id for record in reader.find_run("r")] == ["r3", "r2", "r1"]
        assert [record.run_id for record in reader.find_run("r2")] == ["r2"]
        assert not reader.find_run("x%")
        good = reader.last_good_before(last)
        assert good is not None
        assert good.run_id == "r1"
        assert reader.last_good_before(reader.find_run("r1")[0]) is None


def test_attempts_in_one_trace_have_their_own_stages(store: Store) -> None:
    """A loop that tries again under the same run id: each stage belongs to the attempt in which it began."""
    attempts = [replace(run(attempt=n, span=n), started=NOW + n * 10 * SECOND, ended=NOW + n * 10 * SECOND + 5)
                for n in (1, 2)]  # fmt: skip
    stages = [replace(stage(span=100 + n), started=NOW + n * 10 * SECOND + 1, ended=NOW + n * 10 * SECOND + 2)
              for n in (1, 2)]  # fmt: skip
    store.write([*attempts, *stages], now=NOW + 100 * SECOND)
    with store.reading() as reader:
        records = reader.find_run("r1")
        assert [(r.run and r.run.attempt, r.superseded) for r in records] == [(2, False), (1, True)]
        assert [reader.stages_of(record) for record in records] == [[stages[1]], [stages[0]]]


def test_a_run_is_there_from_its_first_sign_of_life(store: Store) -> None:
    """The latest one counts, an end replaces it, and a later heartbeat changes nothing any more."""
    store.write([seen(ago=30), replace(seen(ago=10), open_stages=("load",)), seen(ago=20)], now=NOW)
    with store.reading() as reader:
        [record] = reader.last_runs("orders", 1)
        assert (record.run, record.started, record.seen) == (None, NOW - 30 * SECOND, NOW - 10 * SECOND)
        assert record.open_stages == ("load",)
    store.write([run(), seen(ago=1)], now=NOW)
    with store.reading() as reader:
        assert reader.last_runs("orders", 1)[0].run == run()


def test_the_file_is_for_its_user_alone(store: Store) -> None:
    """Names of tables and messages of errors are in it."""
    store.write([run()], now=NOW)
    if sys.platform != "win32":
        assert stat.S_IMODE(Path(store.name).stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(store.name).parent.stat().st_mode) == 0o700


def test_the_journal_lets_readers_go_on_while_somebody_writes(store: Store) -> None:
    """A writer that cannot have the lock says so, and nothing of its transaction has happened."""
    store.write([run()], now=NOW)
    impatient = Store(store.name, busy_s=0.01)
    other = sqlite3.connect(Path(store.name), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="another process is writing"):
        impatient.write([stage()], now=NOW)
    assert figures(impatient) == figures(store)
    other.execute("ROLLBACK")
    other.close()
    assert impatient.write([stage()], now=NOW)["stages"] == 1


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """And the error says which file and what to do."""
    path = tmp_path / "store.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.db.*(no SQLite database|damaged)"):
        Store(path)
    assert path.read_bytes() == content


def test_a_damaged_store_says_so(store: Store) -> None:
    """Pages that were overwritten are noticed when they are read."""
    store.write([run(f"r{n}", span=n) for n in range(1, 500)], now=NOW)
    store.close()
    whole = Path(store.name).read_bytes()
    Path(store.name).write_bytes(whole[:4096] + b"\x55" * (len(whole) - 4096))
    with pytest.raises(StoreError, match="damaged"):
        figures(Store(store.name))


def test_a_full_disk_says_so_and_nothing_has_happened(store: Store) -> None:
    """SQLite's own bound on pages stands in for the disk's."""
    store.write([run()], now=NOW)
    before = figures(store)
    with store._writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        store.write([stage(span=n, name="x" * 200 + str(n)) for n in range(1, 400)], now=NOW)
    assert figures(store) == before


def test_a_read_only_store_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And writing says why not. (Root may write everywhere, so the answer is given for the system here.)"""
    store.write([run()], now=NOW)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    other = Store(store.name)
    assert other.read_only
    assert figures(other) == figures(store)
    with pytest.raises(StoreError, match="read-only"):
        other.write([stage()], now=NOW)


def test_what_is_older_than_the_retention_goes_and_does_not_come_back(store: Store) -> None:
    """Its rows go in small chunks, the sums that it is part of stay; arriving again it is late, not new."""
    old = [replace(v, started=v.started - RETENTION_NS, ended=v.ended - RETENTION_NS)
           for v in (run("old", span=5), stage("old", span=6, checks=(Check("c", "t", passed=1),)))]  # fmt: skip
    store.write(old, now=NOW - RETENTION_NS)
    store.write([run(), stage()], now=NOW)
    before = [figure for figure in figures(store) if not figure.kpi.derived]
    assert store.forget(now=NOW + HOUR) == 2
    assert store.forget(now=NOW + HOUR) == 0
    assert store.write(old, now=NOW) == {"late": 2}
    assert [figure for figure in figures(store) if not figure.kpi.derived] == before
    with store.reading() as reader:
        assert not reader.find_run("old")
        assert reader.stages_of(reader.find_run("r1")[0]) == [stage()]
    with sqlite3.connect(Path(store.name)) as connection:
        assert connection.execute("SELECT key FROM run_key").fetchall() == [("r1",)]
    connection.close()


def test_ids_of_other_lengths_never_reach_it() -> None:
    """What is stored as bytes was checked before: the helpers of these tests make such ids as well."""
    assert (len(bytes.fromhex(TRACE)), len(bytes.fromhex(run().span_id))) == (16, 8)
