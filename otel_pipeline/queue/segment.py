"""One file that this process appends to.

    X.tmp ──create, write header──► flock ──rename──► X.q ──append…──► unlock, close

A drainer looks at `*.q` only. Were the file opened under its final name and locked afterwards, a drainer could lock it
first, find it empty and unlink it, and every later append would go to a file without a name.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from otel_pipeline.queue import lock
from otel_pipeline.queue.format import HEADER_SIZE, pack_header

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Segment"]


class Segment:
    """The open, locked file `path` of `size` bytes; the caller serialises its calls."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.size = HEADER_SIZE
        self._fd = fd

    @classmethod
    def create(cls, path: Path, *, created: int) -> Segment:
        """Make and lock a new file (0600) whose final name is `path`; `created` in nanoseconds since the epoch.

        Raises `OSError` when the folder or the disk does not allow it; nothing is left behind then.
        """
        # Windows renames no open file, but unlinks none either, so there the order does not matter.
        temporary = path if sys.platform == "win32" else path.with_suffix(".tmp")
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        try:
            _write(fd, pack_header(created=created, pid=os.getpid()))
            if not lock.try_lock(fd):
                raise BlockingIOError(f"cannot lock {temporary}: a clean-up took it for abandoned")
            temporary.rename(path)
        except OSError:
            os.close(fd)
            temporary.unlink(missing_ok=True)
            raise
        return cls(path, fd)

    def append(self, data: bytes) -> None:
        """Add `data` in one write. Raises `OSError`, the file then being as long as before."""
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                _write(self._fd, data[written:])
        except OSError:
            # A full disk takes a part; were it left, every record behind it would have to be searched for.
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Have the data on the medium (survives power loss), not only in the page cache (survives kill -9)."""
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def close(self) -> None:
        """Give the file up: from now on any process may drain and remove it."""
        lock.unlock(self._fd)
        os.close(self._fd)

    def abandon(self) -> None:
        """Forget the file in a forked child. Unlocking would unlock it for the parent, whose lock this is."""
        os.close(self._fd)


def _write(fd: int, data: bytes) -> None:
    """Write all of `data`; after a part, another attempt raises the reason why it was a part."""
    while data:
        written = os.write(fd, data)
        if written == 0:
            raise OSError(errno.ENOSPC, "wrote nothing")
        data = data[written:]
