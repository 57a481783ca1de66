"""The folder that the queues of all processes share: listing it, keeping it within its bounds.

X.q         records                     (its lock: the writer lives)
X.pos       how far X.q is delivered    (its lock: somebody drains X.q)
X.rejected  records refused for good    X.corrupt   bytes whose checksum was wrong
X.tmp       a file being made           swept       its time: when the bounds were last checked
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from otel_pipeline.queue import lock
from otel_pipeline.queue.claim import Claim, NewerFormatError

if TYPE_CHECKING:
    from otel_pipeline.queue.counts import Counts
    from otel_pipeline.queue.settings import QueueSettings

__all__ = ["make_room", "queue_files", "sweep", "sweep_if_due"]

_STALE_TMP_S = 3600.0


def owner_name(created: int) -> str:
    """A name that no other process has: `created` in nanoseconds since the epoch, the pid for people, and chance."""
    return f"{created:016x}-{os.getpid()}-{os.urandom(4).hex()}"


def make_folder(folder: Path) -> None:
    """Make the folder and its parents, the folder itself for its user alone. Raises `OSError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def queue_files(folder: Path) -> list[Path]:
    """The queue files of a folder, oldest first by name; empty when the folder is missing or unreadable."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".q")]  # noqa: PTH208 - 10⁵ names
    except OSError:
        return []


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    modified: float
    path: Path
    size: int


def sweep_if_due(settings: QueueSettings, counts: Counts, *, now: float) -> None:
    """`sweep`, unless some process did so within `settings.sweep_s`; `now` in seconds since the epoch.

    Raises `OSError`.
    """
    stamp = settings.folder / "swept"
    try:
        age = now - stamp.stat().st_mtime
    except FileNotFoundError:
        age = settings.sweep_s
    # A clock set back leaves a stamp in the future, which must not stop the sweeping.
    if 0 <= age < settings.sweep_s:
        return
    stamp.touch(0o600)
    os.utime(stamp, (now, now))
    sweep(settings, counts, now=now)


def sweep(settings: QueueSettings, counts: Counts, *, now: float, spare: int = 0) -> None:
    """Drop, oldest first, what is older or larger than the settings allow, and what crashes left behind.

    Living writers' files and files being drained stay. `spare` bytes more than the bound are made free.
    """
    entries = sorted(_entries(settings.folder, now))
    total = sum(entry.size for entry in entries)
    for entry in entries:
        too_old = now - entry.modified > settings.max_age_s
        if not too_old and total <= settings.max_bytes - spare:
            break
        if _drop(entry.path, counts) is not _Kept.IN_USE:
            total -= entry.size


def make_room(settings: QueueSettings, counts: Counts) -> bool:
    """Drop the oldest file that may be dropped, for a full disk; False when there is none."""
    entries = sorted(_entries(settings.folder, time.time()))
    return any(_drop(entry.path, counts) is None for entry in entries)


def _entries(folder: Path, now: float) -> list[_Entry]:
    entries = []
    with os.scandir(folder) as found:
        for item in found:
            suffix = item.name[item.name.rfind(".") :]
            try:
                if suffix == ".pos" and not (folder / item.name).with_suffix(".q").exists():
                    Path(item).unlink(missing_ok=True)
                elif suffix == ".tmp" and now - item.stat().st_mtime > _STALE_TMP_S:
                    _unlink_unlocked(Path(item))
                elif suffix in (".q", ".rejected", ".corrupt"):
                    status = item.stat()
                    entries.append(_Entry(status.st_mtime, Path(item), status.st_size))
            except OSError:
                continue
    return entries


def _unlink_unlocked(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        if lock.try_lock(fd):
            path.unlink(missing_ok=True)
    finally:
        os.close(fd)


class _Kept(Enum):
    """Why a file was not dropped: its use by others counts against the bound, a later version's file does not."""

    IN_USE = 1
    NEWER = 2


def _drop(path: Path, counts: Counts) -> _Kept | None:
    try:
        if path.suffix != ".q":
            path.unlink(missing_ok=True)
            return None
        claim = Claim.take(path, counts)
        if claim is None:
            return _Kept.IN_USE
        with claim:
            if claim.alive:
                return _Kept.IN_USE
            for signal, lost in claim.discard().items():
                counts.add("dropped", lost, signal)
    except NewerFormatError:
        return _Kept.NEWER
    except OSError:
        return _Kept.IN_USE
    return None
