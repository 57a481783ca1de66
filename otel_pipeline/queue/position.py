"""How far a queue file has been delivered, in `X.pos` beside `X.q`; its lock is the right to drain that file.

Each signal advances by itself, so a receiver that refuses one of them holds up no other, and a drainer that dies
between two requests repeats at most the one whose answer it did not live to note.
"""

from __future__ import annotations

import os
import zlib
from struct import Struct
from typing import TYPE_CHECKING, Final

from otel_pipeline.queue import lock

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PositionFile"]

_MAGIC: Final = b"OPQPOS1\n"
_LAYOUT: Final = Struct("<8s4Q")
SLOTS: Final = 4
"""Damage already set aside, then the signals by their number."""


class PositionFile:
    """The locked position file of one queue file: `offsets` in bytes, by `format.NOTE` (damage) or `Signal`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.offsets = _read(fd)

    @classmethod
    def take(cls, path: Path) -> PositionFile | None:
        """Lock `path`, making it if needed; None when another drainer has it. Raises `OSError`."""
        while True:
            fd = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)
            if not lock.try_lock(fd):
                os.close(fd)
                return None
            if lock.is_same_file(fd, path):
                return cls(path, fd)
            os.close(fd)  # its last holder unlinked it between our open and our lock

    def write(self) -> None:
        """Note `offsets`, in one write that a kill cannot tear. Raises `OSError`."""
        body = _LAYOUT.pack(_MAGIC, *self.offsets)
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, body + zlib.crc32(body).to_bytes(4, "little"))

    def remove(self) -> None:
        """Unlink the file, once its queue file is gone."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the right to drain back."""
        lock.unlock(self._fd)
        os.close(self._fd)

    def abandon(self) -> None:
        """Forget the file in a forked child, whose parent keeps the lock."""
        os.close(self._fd)


def read_offsets(path: Path) -> list[int]:
    """The offsets noted in `path` without locking it, zeros when there are none."""
    try:
        return _decode(path.read_bytes())
    except OSError:
        return [0] * SLOTS


def _read(fd: int) -> list[int]:
    return _decode(os.read(fd, _LAYOUT.size + 4))


def _decode(data: bytes) -> list[int]:
    body, crc = data[: _LAYOUT.size], data[_LAYOUT.size :]
    if len(body) < _LAYOUT.size or crc != zlib.crc32(body).to_bytes(4, "little"):
        return [0] * SLOTS
    magic, *offsets = _LAYOUT.unpack(body)
    return offsets if magic == _MAGIC else [0] * SLOTS
