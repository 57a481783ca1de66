"""`otel-pipeline purge`: remove what we keep on this machine: queues, rejected records, open runs, the local store.

::

    KINDS ─► what there is (Kept, by file) ─► shown, asked ─► removed, each under the lock that its writer would hold

Only files of our own names are touched, in our folders; never what a living process writes, and never a database.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline import config, masking
from otel_pipeline.queue import inspect, lock
from otel_pipeline.queue.format import Signal
from otel_pipeline.queue.position import PositionFile
from otel_pipeline.terminal.figures import plural, size
from otel_pipeline.terminal.queues import items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from otel_pipeline.config import Settings

_OWNER = r"[0-9a-f]{8,20}-\d+-[0-9a-f]{8}"
_YOUNG = 60.0
_STORE = ("", "-wal", "-shm", "-journal")
_STORE_TABLES = {"meta", "run_key"}
_HANDOVER = {"claim", "events.jsonl", "parent"}


@dataclass(frozen=True, eq=False)
class Kept:
    """One thing that is kept: a file, or several that belong together. ``unsent``: items by signal."""

    kind: str
    path: Path
    bytes: int
    unsent: Mapping[Signal, int]


class Kind(NamedTuple):
    """A kind of file in the queue's folders: its name, what the file is called, how it is removed.

    ``remove`` gives back why it was left; None where it is gone.
    """

    name: str
    pattern: str
    remove: Callable[[Path], str | None]


def purge(*, yes: bool = False, dry_run: bool = False) -> int:
    """Remove it, after asking on a terminal; exit status 0, 1 when something could not be removed or was not meant to.

    2 where nobody can be asked.
    """
    settings = config.load()
    found = list(kept(settings))
    _say(_what(found))
    place = config.store_place(settings)
    if not isinstance(place, Path):
        _say([f"The database {masking.text(str(place))} is left as it is: what is in it, its owner removes."])
    if not found or dry_run:
        return 0
    if not yes:
        if not sys.stdin.isatty():
            sys.stderr.write("otel-pipeline purge: there is no terminal to ask on; want --yes\n")
            return 2
        if not _agreed():
            _say(["Nothing was removed."])
            return 1
    left = {each: why for each in found if (why := remove(each)) is not None}
    _say([f"Removed {_sums([each for each in found if each not in left])}."])
    _say(f"Left {each.path}: {why}" for each, why in left.items())
    return int(any(why not in _IN_USE for why in left.values()))


def kept(settings: Settings) -> Iterator[Kept]:
    """What there is."""
    folder = config.queue_folder(settings)
    for place in (folder, folder / config.EMBEDDED):
        waiting = {file.path: file.pending for file in inspect.list_files(place)}
        for path in _files(place):
            if (kind := _kind(path.name)) is not None:
                yield Kept(kind.name, path, _size(path), waiting.get(path, {}))
    for path in _handovers():
        yield Kept("handed over", path, sum(_size(file) for file in path.iterdir()), {})
    place_of_store = config.store_place(settings)
    if isinstance(place_of_store, Path) and place_of_store.is_file():
        yield Kept("store", place_of_store, sum(_size(file) for file in _store_files(place_of_store)), {})


def remove(each: Kept) -> str | None:
    """Remove it; why it was left, or None."""
    try:
        if each.kind == "store":
            return _remove_store(each.path)
        if each.kind == "handed over":
            return _remove_handover(each.path)
        kind = _kind(each.path.name)
        return kind.remove(each.path) if kind is not None else "it is not ours"
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{error.strerror or error}"


LIVES = "a living process writes to it"
DRAINED = "another process is sending it"
OPEN = "a process has it open: stop `otel-pipeline serve` first"
_IN_USE = (LIVES, DRAINED, OPEN)


def _remove_queue(path: Path) -> str | None:
    with _locked(path) as free:
        if not free:
            return LIVES
        return _remove_with_position(path)


def _remove_with_position(path: Path) -> str | None:
    position = PositionFile.take(path.with_suffix(".pos"))
    if position is None:
        return DRAINED
    try:
        path.unlink(missing_ok=True)
        if not path.with_suffix(".q").exists():
            position.remove()
    finally:
        position.close()
    return None


def _remove_position(path: Path) -> str | None:
    # Where its queue is left, so is it.
    return None if path.with_suffix(".q").exists() else _remove_unlocked(path)


def _remove_unlocked(path: Path) -> str | None:
    with _locked(path) as free:
        if not free:
            return LIVES
        path.unlink(missing_ok=True)
    return None


def _remove_unfinished(path: Path) -> str | None:
    # Between its making and its locking it looks like one that was left behind.
    return _remove_unlocked(path) if time.time() - path.stat().st_mtime > _YOUNG else LIVES


KINDS: tuple[Kind, ...] = (
    Kind("queue", rf"{_OWNER}\.\d{{6,}}\.q", _remove_queue),
    Kind("rejected records", rf"{_OWNER}\.\d{{6,}}\.rejected", _remove_with_position),
    Kind("damaged records", rf"{_OWNER}\.\d{{6,}}\.corrupt", _remove_unlocked),
    Kind("position", rf"{_OWNER}\.\d{{6,}}\.pos", _remove_position),
    Kind("open runs", rf"{_OWNER}\.open", _remove_unlocked),
    Kind("unfinished file", rf"{_OWNER}(?:\.\d{{6,}})?\.tmp", _remove_unfinished),
    Kind("stamp", r"swept|drain\.lock", _remove_unlocked),
)
"""What lies in the queue's folders, by its name (docs/formats.md). Positions come after the queues that they are of."""


def _kind(name: str) -> Kind | None:
    return next((kind for kind in KINDS if re.fullmatch(kind.pattern, name)), None)


def _files(folder: Path) -> list[Path]:
    """Its regular files in the order of ``KINDS``; a link leads to what is not ours."""
    try:
        found = [Path(entry) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []
    order = {kind.name: number for number, kind in enumerate(KINDS)}
    return sorted(found, key=lambda path: (order[kind.name] if (kind := _kind(path.name)) else len(order), path))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether its writer is gone; while that is so, no other takes it."""
    fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        yield lock.try_lock(fd) and lock.is_same_file(fd, path)
    finally:
        os.close(fd)


# --- what `otel-pipeline run` was told, where it was killed -----------------------------------------------------------


def _handovers() -> list[Path]:
    found = []
    for path in sorted(Path(tempfile.gettempdir()).glob("otel-pipeline-*")):
        with contextlib.suppress(OSError):
            about = path.lstat()
            mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            names = {entry.name for entry in path.iterdir()} if stat.S_ISDIR(about.st_mode) and mine else set()
            if "parent" in names and names <= _HANDOVER:
                found.append(path)
    return found


def _remove_handover(path: Path) -> str | None:
    with _locked(path / "parent") as free:
        if not free:
            return LIVES
        for name in _HANDOVER:
            (path / name).unlink(missing_ok=True)
        path.rmdir()
    return None


# --- the store --------------------------------------------------------------------------------------------------------


def _store_files(path: Path) -> list[Path]:
    return [file for ending in _STORE if (file := path.with_name(path.name + ending)).is_file()]


def _remove_store(path: Path) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if path.stat().st_size and not names >= _STORE_TABLES:
                return "it is no store of ours"
            # Leaving the journal's mode needs the file for oneself: it fails where a process has it open.
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError as error:
        return OPEN if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return f"it is no store of ours ({error}); remove it by hand"
    for file in _store_files(path):
        file.unlink(missing_ok=True)
    return None


# --- what people read -------------------------------------------------------------------------------------------------


def _what(found: list[Kept]) -> Iterator[str]:
    if not found:
        yield "There is nothing to remove."
        return
    yield "What is kept on this machine:"
    for place in dict.fromkeys(each.path.parent for each in found):
        yield f"  {place}"
        there = [each for each in found if each.path.parent == place]
        for kind in dict.fromkeys(each.kind for each in there):
            of_kind = [each for each in there if each.kind == kind]
            unsent = sum((Counter(dict(each.unsent)) for each in of_kind), Counter[Signal]())
            told = f": {items(unsent)}" if unsent else ""
            yield f"    {kind:16}  {plural(len(of_kind), 'file')}, {size(sum(each.bytes for each in of_kind))}{told}"


def _sums(removed: list[Kept]) -> str:
    kinds = Counter(each.kind for each in removed)
    told = ", ".join(f"{kind} ({number})" for kind, number in kinds.items())
    return f"{size(sum(each.bytes for each in removed))}: {told}" if removed else "nothing"


def _agreed() -> bool:
    sys.stdout.write("Remove all of it? What was not sent is lost. [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
