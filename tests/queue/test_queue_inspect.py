"""What `otel-pipeline queue` shows and does."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from queue_fakes import FakeTransport, http_server, left, names, orphan, sender

from otel_pipeline.queue import Claim, Counts, Queue, QueueSettings, SenderSettings, Signal, lock
from otel_pipeline.queue.format import pack_header, pack_record
from otel_pipeline.queue.inspect import FileState, drain, list_files, newest_records, retry, status
from otel_pipeline.queue.transport import Rejected

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_folder_holds_nothing(tmp_path: Path) -> None:
    """No error where nothing was ever stored."""
    found = status(tmp_path / "q")
    assert (found.files, found.size, found.pending, found.oldest) == (0, 0, {}, None)


def test_every_kind_of_file_is_told_apart(tmp_path: Path) -> None:
    """Live, orphaned, rejected, corrupt and newer files, with what is pending in each."""
    queue = Queue.open(QueueSettings(tmp_path))
    queue.append(Signal.LOGS, b"", count=7)
    path = orphan(tmp_path, ["a", "b"])
    claim = Claim.take(path, Counts())
    assert claim
    with claim:
        claim.acknowledge(Signal.TRACES, claim.pending(Signal.TRACES)[0].end)
    (tmp_path / "r.000001.rejected").write_bytes(
        pack_header(created=1, pid=9) + pack_record(0, 0, b"HTTP 400") + pack_record(Signal.METRICS, 5, b"")
    )
    (tmp_path / "c.000001.corrupt").write_bytes(b"12345")
    (tmp_path / "n.000001.q").write_bytes(pack_header(created=1, pid=2, version=2))
    files = {file.state: file for file in list_files(tmp_path)}
    assert set(files) == set(FileState)
    assert files[FileState.LIVE].pending == {Signal.LOGS: 7}
    assert files[FileState.LIVE].owner == queue.owner
    assert files[FileState.ORPHAN].pending == {Signal.TRACES: 1}
    assert files[FileState.REJECTED].notes == ("HTTP 400",)
    assert files[FileState.REJECTED].pid == 9
    found = status(tmp_path)
    assert found.pending == {Signal.LOGS: 7, Signal.TRACES: 1}
    assert found.rejected == {Signal.METRICS: 5}
    assert (found.files, found.live, found.orphans, found.corrupt_bytes, found.newer) == (5, 1, 1, 5, 1)
    assert found.oldest is not None
    queue.close()


def test_looking_takes_no_lock_that_matters(tmp_path: Path) -> None:
    """A file that is being looked at is still drained, and two looks see the same."""
    path = orphan(tmp_path, ["a"])
    with path.open("rb") as somebody_looking:
        assert lock.try_lock(somebody_looking.fileno(), shared=True)
        assert [file.state for file in list_files(tmp_path)] == [FileState.ORPHAN]
    transport = FakeTransport()
    assert sender(tmp_path, transport).drain(5)
    assert len(transport.sent) == 1


def test_drain_says_whether_everything_left(tmp_path: Path) -> None:
    """Against a server that answers, and against nobody."""
    orphan(tmp_path, ["a", "b"])
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{held.getsockname()[1]}"
        complete, counts = drain(QueueSettings(tmp_path), SenderSettings(endpoint=nobody), timeout_s=0.01)
    assert (complete, counts.total("delivered"), counts.total("retries")) == (False, 0, 1)
    with http_server() as (url, _):
        complete, counts = drain(QueueSettings(tmp_path), SenderSettings(endpoint=url), timeout_s=30)
    assert (complete, counts.total("delivered")) == (True, 2)


def test_retry_offers_the_rejected_again(tmp_path: Path) -> None:
    """After the receiver's settings were mended, what it had refused is delivered; the note is not."""
    orphan(tmp_path, ["a"])
    transport = FakeTransport([Rejected("HTTP 401 Unauthorized")])
    sending = sender(tmp_path, transport)
    assert sending.drain(5)
    assert status(tmp_path).rejected == {Signal.TRACES: 1}
    assert retry(tmp_path) == 1
    assert status(tmp_path).pending == {Signal.TRACES: 1}
    assert sending.drain(5)
    assert names(*(body for _, body in transport.accepted)) == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["swept"]
    assert retry(tmp_path) == 0


def test_rejected_files_in_use_are_not_taken(tmp_path: Path) -> None:
    """While a drainer may still add to a rejected file it stays where it is."""
    path = orphan(tmp_path, ["a", "b"])
    claim = Claim.take(path, Counts())
    assert claim
    with claim:
        claim.set_aside(claim.batch(Signal.TRACES, 1), "no")
        assert retry(tmp_path) == 0
    assert retry(tmp_path) == 1
    assert len(left(tmp_path)) == 3


def test_the_newest_records_can_be_read(tmp_path: Path) -> None:
    """The last ones of a file, in order."""
    path = orphan(tmp_path, list("abcd"))
    assert names(*(record.payload for record in newest_records(path, 2))) == ["c", "d"]
