"""Embedded mode: the queues of processes that have no endpoint, drained into the local store by whoever reads it.

::

    a user's process ─append─► QUEUE/embedded/X.q ─┐              ┌─► store, one transaction per batch
    one that died ────leaves─► QUEUE/embedded/X.open ┴─► drain ───┤
                                                                  └─► acknowledged, unlinked: after the COMMIT

Where a process writes decides who takes it away: what stands in ``QUEUE`` itself is sent to the endpoint and never read
here, what stands in ``QUEUE/embedded`` is read here and never sent. One process drains at a time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_pipeline import config
from otel_pipeline.kpi import otlp
from otel_pipeline.kpi.otlp_metrics import read_metrics
from otel_pipeline.queue import lock
from otel_pipeline.queue.claim import Claim, NewerFormatError
from otel_pipeline.queue.counts import Counts
from otel_pipeline.queue.folder import queue_files
from otel_pipeline.queue.format import Record, Signal
from otel_pipeline.sdk import lost
from otel_pipeline.sdk.open_runs import dead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otel_pipeline.config import Settings
    from otel_pipeline.kpi.values import Value
    from otel_pipeline.model import Run
    from otel_pipeline.store.store import Store

MOST_BYTES = 8 << 20
"""Payload per transaction: what another writer waits for, and what is in memory at once."""
MOST_FILES = 500
_READERS = {Signal.TRACES: otlp.read_traces, Signal.LOGS: otlp.read_logs, Signal.METRICS: read_metrics}


@dataclass
class Drained:
    """``counted`` by the store, ``left_out`` by reason; ``busy``: somebody else drains, and nothing was done."""

    counted: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    busy: bool = False


def embedded_folder(settings: Settings) -> Path:
    """Where processes without an endpoint keep their queues."""
    return config.queue_folder(settings) / config.EMBEDDED


def drain(folder: Path, store: Store, *, wait_s: float = 10.0) -> Drained:
    """Bring what the queues in ``folder`` hold into ``store``, those of living processes too, and close lost runs.

    Waits ``wait_s`` seconds for another process that drains. Raises StoreError; what was not committed then stays in
    the queues.
    """
    drained = Drained()
    if not folder.is_dir():
        return drained
    with _alone(folder, wait_s) as alone:
        if not alone:
            drained.busy = True
            return drained
        # First, since a process that is dead by now has written all that it ever will.
        gone = _open_runs_of_the_dead(folder)
        batch = _Batch(store, drained)
        with contextlib.closing(batch):
            for path in queue_files(folder):
                batch.take(path)
            batch.commit()
        if gone:
            # A run that has ended after all is known by now, and what is known is not replaced by a guess.
            drained.counted += store.write([run for _, runs in gone for run in runs])
            for path, _ in gone:
                path.unlink(missing_ok=True)
    return drained


class _Batch:
    """Claimed queues whose records go into one transaction; they are acknowledged when that is committed."""

    def __init__(self, store: Store, drained: Drained) -> None:
        self._store = store
        self._drained = drained
        self._counts = Counts()
        self._begin()

    def _begin(self) -> None:
        self._claims: list[Claim] = []
        self._values: list[Value] = []
        self._refused: list[tuple[Claim, Record, str]] = []
        self._bytes = 0

    def take(self, path: Path) -> None:
        """Claim a queue; somebody else's, or one of a later format, is left."""
        try:
            claim = Claim.take(path, self._counts)
        except NewerFormatError:
            self._drained.left_out["newer"] += 1
            return
        if claim is None:
            return
        self._claims.append(claim)
        for record in claim.records():
            self._bytes += len(record.payload)
            self._read(claim, record)
        if self._bytes >= MOST_BYTES or len(self._claims) >= MOST_FILES:
            self.commit()

    def commit(self) -> None:
        """Store what was read, then say so to the queues."""
        if self._values:
            self._drained.counted += self._store.write(self._values)
        for claim, record, reason in self._refused:
            claim.set_aside([record], reason)
        for claim in self._claims:
            claim.acknowledge_all()
            claim.finish()
        self.close()

    def close(self) -> None:
        """Give back what is claimed."""
        for claim in self._claims:
            claim.close()
        self._begin()

    def _read(self, claim: Claim, record: Record) -> None:
        try:
            read = _READERS[Signal(record.kind)](record.payload)
        except otlp.NotOtlpError as error:
            self._refused.append((claim, record, str(error)))
            self._drained.left_out["refused"] += record.count
            return
        self._values += read.values
        self._drained.left_out += read.left_out


@contextlib.contextmanager
def _alone(folder: Path, wait_s: float) -> Iterator[bool]:
    end = time.monotonic() + wait_s
    fd = os.open(folder / "drain.lock", os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        while not (locked := lock.try_lock(fd)) and time.monotonic() < end:
            time.sleep(0.02)
        yield locked
    finally:
        os.close(fd)


def _open_runs_of_the_dead(folder: Path) -> list[tuple[Path, list[Run]]]:
    """Their files, and the runs in them as they ended; not those whose parent lives, which makes the runs' spans."""
    return [
        (path, [lost.ending(run) for run in runs])
        for path, runs in dead(folder)
        if not any(lost.is_held(run) for run in runs)
    ]
