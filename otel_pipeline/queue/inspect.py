"""What `otel-pipeline queue status|list|drain|retry` shows and does; values in, values out, nothing printed."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from otel_pipeline.queue import lock
from otel_pipeline.queue.folder import owner_name, queue_files
from otel_pipeline.queue.format import NOTE, VERSION, Damage, Header, Record, Signal, read_header, scan
from otel_pipeline.queue.position import PositionFile, read_offsets
from otel_pipeline.queue.queue import Queue
from otel_pipeline.queue.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from otel_pipeline.queue.counts import Counts
    from otel_pipeline.queue.queue import Warn
    from otel_pipeline.queue.settings import QueueSettings, SenderSettings

__all__ = ["FileInfo", "FileState", "QueueStatus", "drain", "list_files", "retry", "status"]


class FileState(Enum):
    """What becomes of a file."""

    LIVE = "live"
    """Its process writes to it."""
    ORPHAN = "orphan"
    """Its process is gone or has begun another file: the next drain takes it."""
    REJECTED = "rejected"
    """A receiver refused its records for good: `retry` offers them again."""
    CORRUPT = "corrupt"
    """Bytes that are no records, kept for people."""
    NEWER = "newer"
    """Of a later format version, which alone can read it."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file: `size` in bytes, `modified` in seconds since the epoch, `pending` undelivered items by signal.

    `owner` names the process that wrote it, `pid` is its process id (0 when unknown), `notes` say why it was set aside.
    """

    path: Path
    state: FileState
    owner: str
    pid: int
    size: int
    modified: float
    pending: Mapping[Signal, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Sums over one folder: sizes in bytes, items by signal, `oldest` pending in seconds since the epoch."""

    folder: Path
    files: int
    size: int
    live: int
    orphans: int
    pending: Mapping[Signal, int]
    rejected: Mapping[Signal, int]
    corrupt_bytes: int
    newer: int
    oldest: float | None


def status(folder: Path) -> QueueStatus:
    """What the queue of `folder` holds; zeros for a missing folder. Locks nothing that a drain would wait for."""
    files = list_files(folder)
    waiting = [file for file in files if file.state in (FileState.LIVE, FileState.ORPHAN)]
    return QueueStatus(
        folder=folder,
        files=len(files),
        size=sum(file.size for file in files),
        live=sum(file.state is FileState.LIVE for file in files),
        orphans=sum(file.state is FileState.ORPHAN for file in files),
        pending=_sum(waiting),
        rejected=_sum([file for file in files if file.state is FileState.REJECTED]),
        corrupt_bytes=sum(file.size for file in files if file.state is FileState.CORRUPT),
        newer=sum(file.state is FileState.NEWER for file in files),
        oldest=min((file.modified for file in waiting if file.pending), default=None),
    )


def list_files(folder: Path) -> list[FileInfo]:
    """Every queue, rejected and corrupt file, oldest first; files that vanish meanwhile are left out."""
    return sorted(_files(folder), key=lambda file: (file.modified, file.path))


def drain(
    queue_settings: QueueSettings,
    sender_settings: SenderSettings,
    *,
    timeout_s: float,
    live: bool = False,
    warn: Warn | None = None,
) -> tuple[bool, Counts]:
    """Deliver the orphans of a folder (living processes' records too when `live`) within `timeout_s` seconds.

    Returns whether nothing is left, and what happened.
    """
    sender = Sender(Queue(queue_settings), sender_settings, warn=warn)
    return sender.drain(timeout_s, live=live), sender.counts


def retry(folder: Path) -> int:
    """Make queue files of the rejected ones, so that the next drain offers them again; returns how many.

    Those being written to just now stay. Raises `OSError`.
    """
    moved = 0
    for path in sorted(folder.glob("*.rejected")):
        position = PositionFile.take(path.with_suffix(".pos"))
        if position is None:
            continue
        try:
            path.rename(folder / f"{owner_name(time.time_ns())}.000001.q")
            moved += 1
            if not path.with_suffix(".q").exists():
                position.remove()
        finally:
            position.close()
    return moved


def _files(folder: Path) -> Iterator[FileInfo]:
    for path in queue_files(folder) + sorted(folder.glob("*.rejected")) + sorted(folder.glob("*.corrupt")):
        try:
            yield _file(path)
        except FileNotFoundError:
            continue


def _file(path: Path) -> FileInfo:
    fd = os.open(path, os.O_RDONLY)
    try:
        stat = os.fstat(fd)
        header = read_header(os.read(fd, 64))
        state = _state(path, fd, header)
    finally:
        os.close(fd)
    pending: dict[Signal, int] = {}
    notes: tuple[str, ...] = ()
    if state not in (FileState.CORRUPT, FileState.NEWER):
        pending, notes = _contents(path, header)
    owner = path.name.rpartition(".")[0].rpartition(".")[0]
    return FileInfo(path, state, owner, header.pid if header else 0, stat.st_size, stat.st_mtime, pending, notes)


def _state(path: Path, fd: int, header: Header | None) -> FileState:
    if path.suffix == ".corrupt":
        return FileState.CORRUPT
    if header and header.version > VERSION:
        return FileState.NEWER
    if path.suffix == ".rejected":
        return FileState.REJECTED
    # Shared, so that two people asking at once do not look like a living writer to each other.
    if not lock.try_lock(fd, shared=True):
        return FileState.LIVE
    lock.unlock(fd)
    return FileState.ORPHAN


def _contents(path: Path, header: Header | None) -> tuple[dict[Signal, int], tuple[str, ...]]:
    offsets = read_offsets(path.with_suffix(".pos")) if path.suffix == ".q" else [0] * 4
    base = header.size if header else 0
    pending: Counter[Signal] = Counter()
    notes = []
    for found in scan(path.read_bytes()[base:], base=base, final=False):
        if isinstance(found, Damage):
            continue
        if found.kind == NOTE:
            notes.append(found.payload.decode("utf-8", "replace"))
        elif found.start >= offsets[found.kind]:
            pending[Signal(found.kind)] += found.count
    return dict(pending), tuple(notes)


def _sum(files: list[FileInfo]) -> dict[Signal, int]:
    total: Counter[Signal] = Counter()
    for file in files:
        total.update(file.pending)
    return dict(total)


def newest_records(path: Path, limit: int = 100) -> list[Record]:
    """The last `limit` records of one file, delivered or not, for people. Raises `OSError`."""
    data = path.read_bytes()
    header = read_header(data)
    base = header.size if header else 0
    return [found for found in scan(data[base:], base=base, final=False) if isinstance(found, Record)][-limit:]
