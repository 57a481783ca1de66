"""What a process has open, kept where its death leaves it: a small file in the queue's folder.

::

    OWNER.open   (locked by its process while that lives)
    0        8          12                      … SIZE
    ┌────────┬──────────┬───────────────────────────┐
    │OPRUNS 1│ length   │ JSON: who, runs, stages   │
    └────────┴──────────┴───────────────────────────┘

It is written when a run begins or ends, and for stages at most every 20 ms; what begins in between is written within a
second, by the sender's thread. So a stage that lasts is named, and a thousand short ones cost nothing. (Not a memory
map: on a disk that fills up, touching one would end the user's process by SIGBUS.)

Whoever finds the lock free knows that the owner is gone and closes its runs as lost (``lost.py``). The file's time of
modification, in ticks of the kernel, is the last sign of life.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_pipeline import masking
from otel_pipeline.queue import lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from otel_pipeline.instrument.run import Run

_MAGIC = b"OPRUNS 1"
_LENGTH = struct.Struct("<I")
_HEAD = len(_MAGIC) + _LENGTH.size
SIZE = 64 * 1024
_STAGES_NAMED = 64
_SECONDS_APART = 0.02
_PATIENCE = 1.0
ENDING = ".open"


class OpenRun(NamedTuple):
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
    declared: str | None = None
    backfill: bool = False
    held_by: str | None = None
    """The file that is locked while another process lives that makes the run's span."""


class OpenRuns:
    """The writing side. Its file appears with the first run; a forked child begins its own. Nothing here raises."""

    def __init__(self, folder: Path, resource: Mapping[str, Any]) -> None:
        self._folder = folder
        self._resource = masking.inside(dict(resource))
        self._lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._path: Path | None = None
        self._fd = -1
        # By the id of their span: a pipeline that takes the script's run over takes its entry as well.
        self._runs: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}  # by run id
        self._stages: dict[str, tuple[str, str]] = {}  # run id and name, by span id
        self._changed = False
        self._written = 0.0

    def run_started(self, run: Run, held_by: str | None = None) -> None:
        """A run has started whose span this process makes, or the one that has `held_by` locked."""
        context, parent = run.identity or run.span.get_span_context(), getattr(run.span, "parent", None)
        key = f"{context.span_id:016x}"
        entry = {
            "name": masking.text(run.name),
            "run_id": run.id,
            "attempt": run.attempt,
            "backfill": run.backfill,
            "trace_id": f"{context.trace_id:032x}",
            "span_id": key,
            "parent_span_id": f"{parent.span_id:016x}" if parent is not None else None,
            "started": run.started or time.time_ns(),
            "declared": run.declared,
            "held_by": held_by,
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
        """A stage of a run has begun."""
        self._stages[span_id] = run_id, name
        self._note()

    def stage_ended(self, span_id: str) -> None:
        """It has ended."""
        if self._stages.pop(span_id, None) is not None:
            self._note()

    def _note(self) -> None:
        self._changed = True
        if time.monotonic() - self._written >= _SECONDS_APART:
            self.write_changes()

    def write_changes(self) -> None:
        """Write what has not been written yet."""
        if not self._changed or self._fd < 0 or self._pid != os.getpid():
            return
        with self._lock, contextlib.suppress(OSError, ValueError, RuntimeError):
            self._write()

    def alive(self) -> None:
        """A sign of life."""
        if self._fd >= 0 and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def close(self) -> None:
        """Nothing is open any more. A run that a parent closes stays noted, in case that it does not come to it."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._path is None or self._pid != os.getpid():
                return
            if not any(run["held_by"] for run in self._runs.values()):
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
        path = self._folder / f"{time.time_ns():x}-{self._pid}-{os.urandom(4).hex()}{ENDING}"
        made = path.with_suffix(".tmp")
        # Locked before it has its name, or a reader could find it unlocked and take its owner for dead.
        self._fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            lock.try_lock(self._fd)
            self._put(_MAGIC)
            made.rename(path)
        except OSError:
            os.close(self._fd)
            self._fd = -1
            made.unlink(missing_ok=True)
            raise
        self._path = path

    def _write(self) -> None:
        self._changed, self._written = False, time.monotonic()
        runs = {key: {**run, "stages": []} for key, run in self._runs.items()}
        for run_id, name in list(self._stages.values())[:_STAGES_NAMED]:
            if (key := self._keys.get(run_id)) is not None:
                runs[key]["stages"].append(name[:200])
        text = json.dumps({"resource": self._resource, "runs": runs}, default=str).encode("utf-8", "replace")
        if _HEAD + len(text) <= SIZE:  # else there are more open runs than it can name; the heartbeats tell of them
            self._put(_MAGIC + _LENGTH.pack(len(text)) + text)

    def _put(self, data: bytes) -> None:
        if hasattr(os, "pwrite"):
            os.pwrite(self._fd, data, 0)
        else:
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, data)


def dead(folder: Path, awaited: frozenset[str] = frozenset()) -> Iterator[tuple[Path, list[OpenRun]]]:
    """The files in ``folder`` whose process is gone, each with its open runs; locked until the next one is asked for.

    Remove a file while it is yielded, when its runs are closed. A file that another reader looks at is passed over, but
    for one that names an ``awaited`` span: that is waited for, at most a second.
    """
    end = time.monotonic() + _PATIENCE
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            fd = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            named = os.read(fd, SIZE) if awaited else b""
            waits = any(span_id.encode() in named for span_id in awaited)
            while not (locked := lock.try_lock(fd)) and waits and time.monotonic() < end:
                time.sleep(0.005)
            if locked and lock.is_same_file(fd, path):
                os.lseek(fd, 0, os.SEEK_SET)
                yield path, _read(os.read(fd, SIZE), os.fstat(fd).st_mtime_ns)
        finally:
            os.close(fd)


def _read(data: bytes, seen: int) -> list[OpenRun]:
    try:
        (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
        told = json.loads(data[_HEAD : _HEAD + length]) if data.startswith(_MAGIC) else {"runs": {}}
        return [
            OpenRun(
                **{**run, "stages": tuple(run["stages"])}, seen=max(seen, run["started"]), resource=told["resource"]
            )
            for run in told["runs"].values()
        ]
    except (struct.error, ValueError, TypeError, KeyError, AttributeError):
        return []
