"""What a process has open, kept where its death leaves it: a small file in the queue's folder.

::

    OWNER.open   (locked by its process while that lives)
    0        8          12      …            RUNS_END                     … SIZE
    ┌────────┬──────────┬────────────────────┬────────┬────────┬────────────┐
    │OPRUNS 1│ length   │ JSON: who, runs    │ stage  │ stage  │ …  SLOTS   │
    └────────┴──────────┴────────────────────┴────────┴────────┴────────────┘
    a slot: the id of the run's span, the stage's number in the order of starts, its name; zeros when free

A stage that begins or ends costs one write of 256 bytes, which outlives the process. (Not a memory map: on a disk that
fills up, touching one would end the user's process by SIGBUS.)

Whoever finds the lock free knows that the owner is gone and closes its runs as lost (``lost.py``). The file's time of
modification, in ticks of the kernel, is the last sign of life.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otel_pipeline.queue import lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from otel_pipeline.instrument.run import Run

_MAGIC = b"OPRUNS 1"
_LENGTH = struct.Struct("<I")
_HEAD = len(_MAGIC) + _LENGTH.size
_RUNS_END = 48 * 1024
_SLOT = 256
_SLOTS = 64
SIZE = _RUNS_END + _SLOT * _SLOTS
_KEY = 16  # a span id in hexadecimal
_NAME = _KEY + 8  # and a number in hexadecimal
ENDING = ".open"


@dataclass(frozen=True)
class OpenRun:
    """A run that its process did not end. Times in nanoseconds since the epoch; ``seen`` is the last sign of life."""

    name: str
    run_id: str
    attempt: int
    trace_id: str
    span_id: str
    parent_span_id: str | None
    started: int
    seen: int
    stages: tuple[str, ...]
    resource: Mapping[str, Any]


class OpenRuns:
    """The writing side. Its file appears with the first run; a forked child begins its own. Nothing here raises."""

    def __init__(self, folder: Path, resource: Mapping[str, Any]) -> None:
        self._folder = folder
        self._resource = dict(resource)
        self._lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._path: Path | None = None
        self._fd = -1
        # By the id of their span: a pipeline that takes the script's run over takes its entry as well.
        self._runs: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}
        self._slots: dict[str, int] = {}
        self._free = list(range(_SLOTS))
        self._begun = 0

    def run_started(self, run: Run) -> None:
        """A run whose span this process makes has started."""
        context, parent = run.identity or run.span.get_span_context(), getattr(run.span, "parent", None)
        key = f"{context.span_id:016x}"
        entry = {
            "name": run.name,
            "run_id": run.id,
            "attempt": run.attempt,
            "trace_id": f"{context.trace_id:032x}",
            "span_id": key,
            "parent_span_id": f"{parent.span_id:016x}" if parent is not None else None,
            "started": run.started or time.time_ns(),
        }
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._pid != os.getpid():
                self._leave_to_parent()
            if self._fd < 0:
                self._open()
            self._runs[key], self._keys[run.id] = entry, key
            self._write()

    def run_ended(self, run: Run) -> None:
        """It has ended, and its span is on disk."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            key = self._keys.pop(run.id, "")
            if self._pid == os.getpid() and self._runs.pop(key, None) is not None:
                self._write()

    def stage_started(self, span_id: str, run_id: str, name: str) -> None:
        """A stage of a run has begun. Beyond 64 open ones the rest are not named."""
        if self._fd < 0 or self._pid != os.getpid():
            return
        with self._lock, contextlib.suppress(OSError):
            if self._free and (key := self._keys.get(run_id)):
                self._slots[span_id] = slot = self._free.pop()
                self._begun += 1
                head = f"{key}{self._begun & 0xFFFFFFFF:08x}".encode()
                self._put(slot, head + name.encode("utf-8", "replace")[: _SLOT - _NAME])

    def stage_ended(self, span_id: str) -> None:
        """It has ended."""
        if self._fd < 0 or self._pid != os.getpid():
            return
        with self._lock, contextlib.suppress(OSError):
            if (slot := self._slots.pop(span_id, None)) is not None:
                self._free.append(slot)
                self._put(slot, b"")

    def alive(self) -> None:
        """A sign of life."""
        if self._fd >= 0 and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def close(self) -> None:
        """Nothing is open any more."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._path is None or self._pid != os.getpid():
                return
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._begin()

    def leave_to_parent(self) -> None:
        """In a forked child: the file is the parent's. Keeping it open would keep its lock after the parent's death."""
        if self._pid != os.getpid():
            self._lock = threading.RLock()
            self._leave_to_parent()

    def _leave_to_parent(self) -> None:
        fd = self._fd
        self._begin()
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{time.time_ns():x}-{self._pid}-{secrets.token_hex(4)}{ENDING}"
        made = path.with_suffix(".tmp")
        # Locked before it has its name, or a reader could find it unlocked and take its owner for dead.
        self._fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            lock.try_lock(self._fd)
            self._put_at(0, _MAGIC.ljust(SIZE, b"\0"))
            made.rename(path)
        except OSError:
            os.close(self._fd)
            self._fd = -1
            made.unlink(missing_ok=True)
            raise
        self._path = path

    def _write(self) -> None:
        text = json.dumps({"resource": self._resource, "runs": self._runs}, default=str).encode()
        if (
            len(text) <= _RUNS_END - _HEAD
        ):  # else there are more open runs than it can name; the heartbeats tell of them
            self._put_at(len(_MAGIC), _LENGTH.pack(len(text)) + text)

    def _put(self, slot: int, data: bytes) -> None:
        self._put_at(_RUNS_END + slot * _SLOT, data.ljust(_SLOT, b"\0"))

    def _put_at(self, offset: int, data: bytes) -> None:
        if hasattr(os, "pwrite"):
            os.pwrite(self._fd, data, offset)
        else:
            os.lseek(self._fd, offset, os.SEEK_SET)
            os.write(self._fd, data)


def dead(folder: Path) -> Iterator[tuple[Path, list[OpenRun]]]:
    """The files in ``folder`` whose process is gone, each with its open runs; locked until the next one is asked for.

    Remove a file while it is yielded, when its runs are closed.
    """
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            fd = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            if lock.try_lock(fd) and lock.is_same_file(fd, path):
                yield path, _read(os.read(fd, SIZE), os.fstat(fd).st_mtime_ns)
        finally:
            os.close(fd)


def _read(data: bytes, seen: int) -> list[OpenRun]:
    if not data.startswith(_MAGIC) or len(data) < SIZE:
        return []
    (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
    try:
        told = json.loads(data[_HEAD : _HEAD + length])
        runs, resource = told["runs"], told["resource"]
        stages = _stages(data)
        return [
            OpenRun(**run, seen=max(seen, run["started"]), stages=tuple(stages.get(key, ())), resource=resource)
            for key, run in runs.items()
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def _stages(data: bytes) -> dict[str, list[str]]:
    slots = (data[at : at + _SLOT].rstrip(b"\0") for at in range(_RUNS_END, SIZE, _SLOT))
    found: dict[str, list[str]] = {}
    for text in sorted(slot.decode("utf-8", "replace") for slot in slots if slot):
        found.setdefault(text[:_KEY], []).append(text[_NAME:])
    return found
