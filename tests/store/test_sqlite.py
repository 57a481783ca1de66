"""What is SQLite's own: the file, its journal, and what may be wrong with it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_pipeline.store.errors import StoreBusyError, StoreError
from otel_pipeline.store.store import Store
from tests.kpi.events import NOW, TRACE, run, stage
from tests.store.test_store import figures

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "data" / "store.db")) as made:
        yield made


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


def test_ids_of_other_lengths_never_reach_it() -> None:
    """What is stored as bytes was checked before: the helpers of these tests make such ids as well."""
    assert (len(bytes.fromhex(TRACE)), len(bytes.fromhex(run().span_id))) == (16, 8)


def test_a_file_that_was_moved_away_is_not_written_to(store: Store) -> None:
    """A server that has it open says so, and goes on with the file that is there next."""
    store.write([run()], now=NOW)
    path = Path(store.name)
    path.rename(path.with_name("old.db"))
    with pytest.raises(StoreError, match="No such file"):
        store.write([stage()], now=NOW)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    with contextlib.closing(Store(path)) as new:
        assert new.write([run()], now=NOW) == {"runs": 1}
        assert store.write([run()], now=NOW) == {"repeated": 1}


@pytest.mark.parametrize(("sync", "level"), [("normal", 1), ("full", 2)])
def test_what_is_committed_outlives_a_loss_of_power_where_asked_for(tmp_path: Path, sync: str, level: int) -> None:
    """SQLite's levels: 1 flushes the journal before it is folded in, 2 with each commit."""
    with contextlib.closing(Store(tmp_path / "x.db", sync=sync)) as store, store._writing() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level
