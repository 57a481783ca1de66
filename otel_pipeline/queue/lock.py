"""Advisory locks on open files, and the inode check that makes them safe against a file unlinked meanwhile.

`flock` belongs to the open file description: a second `open` of the same file by the same process competes with the
first, which is how the sender of a living process sees that its own file is still written to.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_same_file", "try_lock", "unlock"]

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 40  # Windows' locks are mandatory and of byte ranges: this byte is never read or written

    def try_lock(fd: int, *, shared: bool = False) -> bool:
        """Take the lock at once or not at all; True when taken. There are no shared locks here."""
        os.lseek(fd, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Give the lock back."""
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def try_lock(fd: int, *, shared: bool = False) -> bool:
        """Take the lock at once or not at all; True when taken. Shared locks exclude only the other kind."""
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Give the lock back, also when a forked child still holds a copy of the descriptor."""
        fcntl.flock(fd, fcntl.LOCK_UN)


def is_same_file(fd: int, path: Path) -> bool:
    """Whether `path` still names the file that `fd` is open on."""
    try:
        there = path.stat()
    except OSError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
