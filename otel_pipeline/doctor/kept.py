"""What is kept on this machine: in the queues, and in the store. Looked at, never changed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from otel_pipeline import config
from otel_pipeline.doctor.rows import Row
from otel_pipeline.queue import inspect
from otel_pipeline.terminal.figures import duration, size
from otel_pipeline.terminal.queues import items

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.doctor.rows import Situation
    from otel_pipeline.queue.inspect import QueueStatus

LONG = 3600.0
"""Seconds after which what ended processes have left is told."""


def queue(situation: Situation) -> Iterator[Row]:
    """Both folders: for the endpoint, and for the store of this machine."""
    folder = config.queue_folder(situation.settings)
    yield _folder(folder)
    sent = inspect.status(folder)
    yield from _waiting("to be sent", sent, situation, queue_todo="otel-pipeline queue drain")
    yield from _waiting("for the store", inspect.status(folder / config.EMBEDDED), situation)


def _folder(folder: Path) -> Row:
    if not folder.exists():
        return Row("folder", f"{folder} (made when something is recorded)")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Row(
            "folder", f"{folder} cannot be written", state="wrong", todo="give it to this user, or set queue_dir"
        )
    return Row("folder", str(folder))


def _waiting(name: str, status: QueueStatus, situation: Situation, queue_todo: str = "") -> Iterator[Row]:
    age = None if status.oldest is None else max(0.0, time.time() - status.oldest)
    old = f", the oldest {duration(age)} old" if age is not None else ""
    live = f"; {status.live} of living processes" if status.live else ""
    told = f"{items(status.pending)}{old} ({status.files} files, {size(status.size)}{live})"
    left = bool(queue_todo and status.orphans and status.pending and age is not None and age > LONG)
    sends = bool(situation.settings.endpoint)
    yield Row(name, told, state="note" if left else "fine", todo=f"run `{queue_todo}`" if left and sends else "")
    if status.rejected:
        told = f"{items(status.rejected)}: the receiver refused them for good"
        yield Row(
            f"{name}, rejected", told, state="wrong", todo="see why: `otel-pipeline queue list`; then `queue retry`"
        )
    if status.corrupt_bytes:
        told = f"{size(status.corrupt_bytes)} that are no records, set aside"
        yield Row(f"{name}, damaged", told, state="note", todo="`otel-pipeline purge` removes them")
    if status.newer:
        yield Row(f"{name}, newer", f"{status.newer} files of a later version, left for that", state="note")


def store(situation: Situation) -> Iterator[Row]:
    """The local store; a database is not contacted."""
    place = config.store_place(situation.settings)
    if not isinstance(place, Path):
        yield Row("database", f"{place} (not contacted here: `otel-pipeline runs` says whether it answers)")
        return
    if not place.exists():
        yield Row("file", f"{place} (made when `otel-pipeline runs` or `serve` first reads)")
        return
    files = [path for ending in ("", "-wal", "-shm") if (path := place.with_name(place.name + ending)).exists()]
    total = sum(path.stat().st_size for path in files)
    if problem := _unreadable(place):
        todo = "move it away, and a new one is begun" if "database" in problem else "give it to this user"
        yield Row("file", f"{place}, {size(total)}: {problem}", state="wrong", todo=todo)
        return
    writable = "" if os.access(place, os.W_OK) and os.access(place.parent, os.W_OK) else ", read-only"
    yield Row("file", f"{place}, {size(total)}{writable}", state="note" if writable else "fine")


def _unreadable(place: Path) -> str | None:
    try:
        uri = f"{place.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            connection.execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None
