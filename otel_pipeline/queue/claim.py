"""The right to drain one queue file, and what is still to be delivered from it.

Whoever delivers (the sender of the file's own process, that of a later one, the command line, the reader that fills
the local store) takes a `Claim`, reads `pending`, acknowledges what arrived, and calls `finish`:

    take ──► pending(signal) ──deliver──► acknowledge(signal, end) ──► finish ──► close

Nothing is unlinked unless its writer is gone, every record was acknowledged and nothing was appended since.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from otel_pipeline.queue import lock
from otel_pipeline.queue.format import (
    NOTE,
    VERSION,
    Damage,
    Record,
    Signal,
    pack_header,
    pack_record,
    read_header,
    scan,
)
from otel_pipeline.queue.position import PositionFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from otel_pipeline.queue.counts import Counts

__all__ = ["Claim", "NewerFormatError"]


class NewerFormatError(Exception):
    """A queue file of a later version of this package; it is left alone, for that version to deliver."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(f"cannot read {path.name}: it has format version {version}, want {VERSION} or less")
        self.path = path
        self.version = version


class Claim:
    """An exclusive claim on `path`; `alive` says whether its writer was when it was taken.

    Use it as a context manager. Its methods raise `OSError` when the file system does.
    """

    def __init__(self, path: Path, fd: int, position: PositionFile, counts: Counts) -> None:
        self.path = path
        self._fd = fd
        self._position = position
        self._counts = counts
        self.alive = not _own_briefly(fd)
        self._pending: dict[Signal, deque[Record]] = {signal: deque() for signal in Signal}
        self._end = self._load()

    @classmethod
    def take(cls, path: Path, counts: Counts, *, living: bool = True) -> Claim | None:
        """Claim `path`; None when it is gone, unreadable, or another drainer has it; and, unless `living` ones are
        wanted too, when its writer lives, which is known before all of it is read.

        Raises `NewerFormatError` for a file of a later format.
        """
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError:
            return None
        try:
            if not living and not _own_briefly(fd):
                os.close(fd)
                return None
            header = read_header(os.read(fd, 64))
            if header and header.version > VERSION:
                raise NewerFormatError(path, header.version)
            claim = cls._lock(path, fd, counts)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):
                return None
            raise
        if claim is None:
            os.close(fd)
        return claim

    @classmethod
    def _lock(cls, path: Path, fd: int, counts: Counts) -> Claim | None:
        position = PositionFile.take(path.with_suffix(".pos"))
        if position is None:
            return None
        if not lock.is_same_file(fd, path):
            position.remove()
            position.close()
            return None
        return cls(path, fd, position, counts)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the claim back."""
        self._position.close()
        os.close(self._fd)

    def abandon(self) -> None:
        """Forget the claim in a forked child, whose parent keeps it."""
        self._position.abandon()
        os.close(self._fd)

    def pending(self, signal: Signal) -> tuple[Record, ...]:
        """The records of one signal that nobody has acknowledged, oldest first."""
        return tuple(self._pending[signal])

    def batch(self, signal: Signal, max_bytes: int) -> list[Record]:
        """The oldest pending records of one signal, of `max_bytes` of payload together but at least one; or none."""
        taken: list[Record] = []
        size = 0
        for record in self._pending[signal]:
            size += len(record.payload)
            if taken and size > max_bytes:
                break
            taken.append(record)
        return taken

    def records(self) -> list[Record]:
        """The records of all signals that nobody has acknowledged, in the order in which they were written."""
        return sorted((record for queue in self._pending.values() for record in queue), key=lambda record: record.start)

    def acknowledge(self, signal: Signal, end: int) -> None:
        """Note that every record of `signal` that ends at or before the offset `end` is delivered or set aside."""
        queue = self._pending[signal]
        while queue and queue[0].end <= end:
            queue.popleft()
        self._note()

    def acknowledge_all(self) -> None:
        """Note that everything that `records` gave is delivered."""
        for queue in self._pending.values():
            queue.clear()
        self._note()

    def set_aside(self, records: Iterable[Record], reason: str) -> None:
        """Copy records to `X.rejected`, a queue file that nobody sends until `retry` renames it, with the reason."""
        created = int(self.path.stat().st_mtime * 1e9)
        note = pack_record(NOTE, 0, reason.encode("utf-8", "replace"))
        copies = [pack_record(record.kind, record.count, record.payload) for record in records]
        path = self.path.with_suffix(".rejected")
        head = b"" if path.exists() else pack_header(created=created, pid=0)
        _append(path, b"".join((head, note, *copies)))

    def finish(self) -> bool:
        """Remove the file if its writer is gone and nothing in it is left to deliver; True when removed."""
        if any(self._pending.values()) or not lock.try_lock(self._fd):
            return False
        try:
            # Its writer may have appended after `_load` and died since.
            if os.fstat(self._fd).st_size != self._end:
                return False
            self.path.unlink(missing_ok=True)
            self._position.remove()
        except PermissionError:  # Windows, where its writer still has it open
            return False
        finally:
            lock.unlock(self._fd)
        return True

    def discard(self) -> dict[Signal, int]:
        """Remove the file whatever it holds, and say how many undelivered items of each signal that lost."""
        lost = {signal: sum(record.count for record in queue) for signal, queue in self._pending.items()}
        self.path.unlink(missing_ok=True)
        self._position.remove()
        return lost

    def _load(self) -> int:
        """Sort what is not acknowledged by signal; the offset up to which the file is understood."""
        offsets = self._position.offsets
        header = read_header(_read_at(self._fd, 0, 64))
        base = max(min(offsets), header.size if header else 0)
        data = _read_at(self._fd, base, max(0, os.fstat(self._fd).st_size - base))
        end = base
        for found in scan(data, base=base, final=not self.alive):
            end = found.end
            if isinstance(found, Damage):
                self._set_damage_aside(found, data[found.start - base : found.end - base])
            elif found.kind != NOTE and found.start >= offsets[found.kind]:
                self._pending[Signal(found.kind)].append(found)
        return end

    def _set_damage_aside(self, damage: Damage, data: bytes) -> None:
        if damage.start < self._position.offsets[NOTE]:
            return
        self._counts.add("torn_bytes" if damage.torn else "corrupt_bytes", len(data))
        if not damage.torn:
            _append(self.path.with_suffix(".corrupt"), data)
        self._position.offsets[NOTE] = damage.end
        self._position.write()

    def _note(self) -> None:
        offsets = [self._end] + [queue[0].start if (queue := self._pending[s]) else self._end for s in Signal]
        if offsets != self._position.offsets:
            self._position.offsets = offsets
            self._position.write()


def _own_briefly(fd: int) -> bool:
    owned = lock.try_lock(fd)
    if owned:
        lock.unlock(fd)
    return owned


def _read_at(fd: int, offset: int, length: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, length)


def _append(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
