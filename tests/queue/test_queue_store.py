"""Appending: what is stored, what is dropped and counted, and that the caller is never harmed."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from queue_fakes import left, names, orphan, span_bytes

from otel_pipeline.queue import Claim, Counts, NewerFormatError, Queue, QueueSettings, Signal
from otel_pipeline.queue import folder as folder_module
from otel_pipeline.queue import segment as segment_module
from otel_pipeline.queue.folder import sweep, sweep_if_due
from otel_pipeline.queue.format import HEADER_SIZE, pack_header, pack_record
from otel_pipeline.queue.position import PositionFile

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400


def test_an_appended_record_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    """Nothing is buffered in the process."""
    queue = Queue.open(QueueSettings(tmp_path / "q"))
    assert queue.append(Signal.TRACES, span_bytes("a"))
    assert names(*(record.payload for record in left(tmp_path / "q"))) == ["a"]
    assert queue.counts.total("appended", Signal.TRACES) == 1
    queue.close()


def test_files_are_for_their_user_alone(tmp_path: Path) -> None:
    """The folder is 0700, every file in it 0600, whatever the umask."""
    before = os.umask(0)
    try:
        path = orphan(tmp_path / "state" / "q", ["a"])
        assert left(path.parent)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_process_without_telemetry_leaves_nothing(tmp_path: Path) -> None:
    """No folder and no file before the first record."""
    Queue.open(QueueSettings(tmp_path / "q")).close()
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_seen_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is locked there is no `*.q` yet: no drainer can unlink what its owner is about to use."""
    seen: list[list[str]] = []
    try_lock = segment_module.lock.try_lock

    def spy(fd: int, *, shared: bool = False) -> bool:
        seen.append(sorted(path.suffix for path in tmp_path.iterdir() if path.name != "swept"))
        return try_lock(fd, shared=shared)

    monkeypatch.setattr(segment_module.lock, "try_lock", spy)
    queue = Queue.open(QueueSettings(tmp_path))
    queue.append(Signal.TRACES, b"x")
    assert seen[0] == [".tmp"]
    queue.close()


def test_threads_share_a_queue(tmp_path: Path) -> None:
    """Records of 8 threads are all there, none torn, and counted."""
    queue = Queue.open(QueueSettings(tmp_path, segment_bytes=5000))
    threads = [
        threading.Thread(target=lambda n=n: [queue.append(Signal.LOGS, b"%d-%d" % (n, i)) for i in range(200)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.close()
    assert {record.payload for record in left(tmp_path)} == {b"%d-%d" % (n, i) for n in range(8) for i in range(200)}
    assert queue.counts.total("appended") == 1600


def test_a_full_segment_is_handed_over(tmp_path: Path) -> None:
    """The next file is begun at the segment size; the full one is free for any drainer while its process lives."""
    queue = Queue.open(QueueSettings(tmp_path, segment_bytes=4096))
    for _ in range(6):
        queue.append(Signal.TRACES, bytes(1000))
    paths = queue.paths()
    assert len(paths) == 2
    claims = [Claim.take(path, Counts()) for path in paths]
    assert [claim.alive for claim in claims if claim] == [False, True]
    for claim in claims:
        assert claim
        claim.close()
    queue.close()


def test_a_full_queue_drops_its_oldest_segments(tmp_path: Path) -> None:
    """The newest records stay, within the bound and one segment; the dropped ones are counted by signal."""
    queue = Queue.open(QueueSettings(tmp_path, max_bytes=40_000))
    for number in range(100):
        queue.append(Signal.TRACES, b"%04d" % number + bytes(996))
    kept = [int(record.payload[:4]) for record in left(tmp_path)]
    assert kept == list(range(100 - len(kept), 100))
    assert 30 <= len(kept) <= 45
    assert queue.counts.total("dropped", Signal.TRACES) == 100 - len(kept)
    queue.close()


def test_other_processes_orphans_count_against_the_bound(tmp_path: Path) -> None:
    """The bound is the folder's; the oldest file goes first, whoever wrote it."""
    old, new = orphan(tmp_path, ["old"]), orphan(tmp_path, ["new"])
    os.utime(old, (1, 1))
    counts = Counts()
    sweep(QueueSettings(tmp_path, max_bytes=new.stat().st_size, max_age_s=1e12), counts, now=100.0)
    assert (old.exists(), new.exists(), counts.total("dropped")) == (False, True, 1)


def test_what_is_too_old_is_dropped_and_counted(tmp_path: Path) -> None:
    """Beyond `max_age_s` a replay might be counted twice, so the records go, with a count."""
    path = orphan(tmp_path, ["a", "b"])
    modified = path.stat().st_mtime
    counts = Counts()
    sweep(QueueSettings(tmp_path), counts, now=modified + 5 * DAY)
    assert path.exists()
    sweep(QueueSettings(tmp_path), counts, now=modified + 7 * DAY)
    assert (path.exists(), counts.total("dropped", Signal.TRACES)) == (False, 2)


def test_a_clock_set_back_drops_nothing(tmp_path: Path) -> None:
    """Files from the future are young; a sweep stamp from the future does not stop later sweeps."""
    path = orphan(tmp_path, ["a"])
    counts = Counts()
    settings = QueueSettings(tmp_path)
    sweep_if_due(settings, counts, now=path.stat().st_mtime - 365 * DAY)
    assert path.exists()
    assert (tmp_path / "swept").stat().st_mtime == pytest.approx(path.stat().st_mtime - 365 * DAY)
    queue = Queue.open(settings, clock=lambda: 1.0)
    assert queue.append(Signal.TRACES, b"x")
    queue.close()
    assert counts.total("dropped") == 0


def test_the_folder_is_not_listed_by_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand cron runs with a dead Collector do not each stat ten thousand files."""
    calls: list[float] = []
    monkeypatch.setattr(folder_module, "sweep", lambda settings, counts, *, now: calls.append(now))
    settings = QueueSettings(tmp_path, sweep_s=600)
    for now in (1000.0, 1001.0, 1599.0, 1601.0, 500.0):
        sweep_if_due(settings, Counts(), now=now)
    assert calls == [1000.0, 1601.0, 500.0]


def test_sweeping_spares_living_and_drained_files(tmp_path: Path) -> None:
    """A file whose writer lives, or that is just being sent, is never removed below them."""
    queue = Queue.open(QueueSettings(tmp_path))
    queue.append(Signal.TRACES, b"live")
    drained = orphan(tmp_path, ["drained"])
    claim = Claim.take(drained, Counts())
    assert claim
    sweep(QueueSettings(tmp_path, max_bytes=1), Counts(), now=1e12)
    assert drained.exists()
    assert queue.paths()[0].exists()
    claim.close()
    queue.close()


def test_leftovers_of_crashes_are_cleaned(tmp_path: Path) -> None:
    """Position files without a queue and old unlocked temporary files go; young temporary ones stay."""
    for name in ("gone.000001.pos", "old.tmp", "young.tmp"):
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / "old.tmp", (1, 1))
    sweep(QueueSettings(tmp_path), Counts(), now=(tmp_path / "young.tmp").stat().st_mtime)
    assert [path.name for path in tmp_path.iterdir()] == ["young.tmp"]


def test_a_newer_version_s_file_is_left_alone(tmp_path: Path) -> None:
    """It is reported, neither read nor dropped, and does not count against the bound."""
    path = tmp_path / "later.000001.q"
    path.write_bytes(pack_header(created=1, pid=2, version=2) + bytes(5000))
    os.utime(path, (1, 1))
    mine = orphan(tmp_path, ["a"])
    with pytest.raises(NewerFormatError, match="version 2"):
        Claim.take(path, Counts())
    sweep(QueueSettings(tmp_path, max_bytes=mine.stat().st_size), Counts(), now=mine.stat().st_mtime)
    assert path.exists()
    assert mine.exists()


def test_a_durable_append_reaches_the_medium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`durable` syncs the file before the call returns, other appends do not."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    queue = Queue.open(QueueSettings(tmp_path))
    queue.append(Signal.TRACES, b"x")
    assert synced == []
    queue.append(Signal.TRACES, b"x", durable=True)
    assert len(synced) == 1
    queue.close()
    assert len(synced) == 2


def test_a_folder_that_cannot_be_made_costs_the_records_only(tmp_path: Path) -> None:
    """A file stands where the folder should be: records are dropped and counted, one line is said, nothing raises."""
    (tmp_path / "q").write_text("not a folder")
    said: list[str] = []
    queue = Queue.open(QueueSettings(tmp_path / "q"), warn=said.append)
    assert [queue.append(Signal.LOGS, b"x") for _ in range(3)] == [False] * 3
    assert queue.counts.total("dropped", Signal.LOGS) == 3
    assert len(said) == 1
    assert str(tmp_path / "q") in said[0]


def test_a_broken_warn_function_harms_nobody(tmp_path: Path) -> None:
    """The caller's own function may raise; the append still returns."""
    (tmp_path / "q").write_text("not a folder")

    def warn(message: str) -> None:
        raise RuntimeError(message)

    assert not Queue.open(QueueSettings(tmp_path / "q"), warn=warn).append(Signal.LOGS, b"x")


def test_an_append_within_an_append_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finaliser or signal handler that ends a span in the middle of an append neither deadlocks nor loses it."""
    queue = Queue.open(QueueSettings(tmp_path))
    write = os.write
    nested = [b"inner"]

    def reenter(fd: int, data: bytes) -> int:
        if nested:
            queue.append(Signal.LOGS, nested.pop())
        return write(fd, data)

    monkeypatch.setattr(segment_module.os, "write", reenter)
    assert queue.append(Signal.TRACES, b"outer")
    monkeypatch.undo()
    assert {record.payload for record in left(tmp_path)} == {b"outer", b"inner"}
    queue.close()


def test_appending_after_close_begins_another_file(tmp_path: Path) -> None:
    """A span that ends in an exit handler after ours is stored too."""
    queue = Queue.open(QueueSettings(tmp_path))
    queue.append(Signal.TRACES, b"1")
    queue.close()
    queue.append(Signal.TRACES, b"2")
    assert [record.payload for record in left(tmp_path)] == [b"1", b"2"]
    queue.close()


def test_a_torn_end_is_cut_on_adoption(tmp_path: Path) -> None:
    """The unfinished write of a killed process is counted, not set aside, and what came before it is delivered."""
    path = orphan(tmp_path, ["a", "b"])
    with path.open("ab") as file:
        file.write(pack_record(Signal.TRACES, 1, b"torn")[:-2])
    counts = Counts()
    claim = Claim.take(path, counts)
    assert claim
    with claim:
        assert names(*(record.payload for record in claim.pending(Signal.TRACES))) == ["a", "b"]
        claim.acknowledge_all()
        assert claim.finish()
    assert counts.total("torn_bytes") == 22
    assert [path.suffix for path in tmp_path.iterdir()] == [""]


@pytest.mark.parametrize("position", [3, HEADER_SIZE + 30, -3])
def test_damage_is_set_aside_once_and_the_rest_delivered(tmp_path: Path, position: int) -> None:
    """A changed byte in the header, a record or the last record: the bytes are kept apart, and only once."""
    path = orphan(tmp_path, ["a", "b", "c"])
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)
    counts = Counts()
    for _ in range(3):
        claim = Claim.take(path, counts)
        assert claim
        with claim:
            found = names(*(record.payload for record in claim.records()))
    expected = {3: ["a", "b", "c"], -3: ["a", "b"]}.get(position, ["b", "c"])
    assert found == expected
    aside = path.with_suffix(".corrupt").read_bytes()
    assert counts.total("corrupt_bytes") == len(aside) > 0
    assert aside in bytes(data)


def test_a_file_of_zeros_or_of_nothing_is_cleaned_up(tmp_path: Path) -> None:
    """What a loss of power may leave: zeros are set aside, an empty file is removed."""
    for name, content in (("a.000001.q", b""), ("b.000001.q", bytes(100))):
        (tmp_path / name).write_bytes(content)
        claim = Claim.take(tmp_path / name, Counts())
        assert claim
        with claim:
            assert claim.records() == []
            assert claim.finish()
    assert (tmp_path / "b.000001.corrupt").read_bytes() == bytes(100)


def test_a_claim_is_exclusive(tmp_path: Path) -> None:
    """A second drainer gets nothing while the first holds the file, and nothing when the first has removed it."""
    path = orphan(tmp_path, ["a"])
    first = Claim.take(path, Counts())
    assert first
    assert Claim.take(path, Counts()) is None
    first.acknowledge_all()
    assert first.finish()
    assert Claim.take(path, Counts()) is None
    first.close()
    assert Claim.take(path, Counts()) is None
    assert [p.name for p in tmp_path.iterdir()] == ["swept"]


def test_a_drainer_that_was_overtaken_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file opened before, and locked after, another drainer removed it is given up, leaving no position file."""
    path = orphan(tmp_path, ["a"])
    take = PositionFile.take

    def overtaken(position: Path) -> PositionFile | None:
        path.unlink()
        return take(position)

    monkeypatch.setattr(PositionFile, "take", overtaken)
    assert Claim.take(path, Counts()) is None
    assert [p.name for p in tmp_path.iterdir()] == ["swept"]


def test_what_was_acknowledged_is_not_pending_again(tmp_path: Path) -> None:
    """Each signal's position outlives its drainer, and the others' are not moved by it."""
    path = orphan(tmp_path, ["a", "b"])
    with path.open("ab") as file:
        file.write(pack_record(Signal.LOGS, 1, b"log"))
    first = Claim.take(path, Counts())
    assert first
    with first:
        first.acknowledge(Signal.TRACES, first.pending(Signal.TRACES)[0].end)
    second = Claim.take(path, Counts())
    assert second
    with second:
        assert names(*(record.payload for record in second.pending(Signal.TRACES))) == ["b"]
        assert [record.payload for record in second.pending(Signal.LOGS)] == [b"log"]
        assert not second.finish()


def test_a_damaged_position_means_from_the_start(tmp_path: Path) -> None:
    """An unreadable position file repeats records rather than losing them."""
    path = orphan(tmp_path, ["a"])
    claim = Claim.take(path, Counts())
    assert claim
    claim.acknowledge_all()
    claim.close()
    path.with_suffix(".pos").write_bytes(b"garbage")
    assert len(left(tmp_path)) == 1


def test_a_file_that_grew_is_not_removed(tmp_path: Path) -> None:
    """What its writer appended between reading and removing, before it died, keeps the file."""
    queue = Queue.open(QueueSettings(tmp_path))
    queue.append(Signal.TRACES, b"1")
    claim = Claim.take(queue.paths()[0], Counts())
    assert claim
    queue.append(Signal.TRACES, b"2")
    queue.close()
    claim.acknowledge_all()
    assert not claim.finish()
    claim.close()
    assert [record.payload for record in left(tmp_path)] == [b"2"]


def test_a_living_file_may_be_drained_but_stays(tmp_path: Path) -> None:
    """The local store reads a running process's records as they come; each is pending once."""
    queue = Queue.open(QueueSettings(tmp_path))
    for number in range(3):
        queue.append(Signal.TRACES, b"%d" % number)
        claim = Claim.take(queue.paths()[0], Counts())
        assert claim
        with claim:
            assert claim.alive
            assert [record.payload for record in claim.records()] == [b"%d" % number]
            claim.acknowledge_all()
            assert not claim.finish()
    queue.close()


def test_unknown_events_are_refused() -> None:
    """A count without a documented meaning is a mistake of ours."""
    with pytest.raises(KeyError, match="no such event"):
        Counts().add("lost")
