"""Hostile requests, many: see `tests/receive/fuzz.py`. Nothing may fail, and memory has to come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from otel_pipeline.receive.bounds import Limits
from otel_pipeline.store.store import Store

from ..receive.fuzz import Fuzz
from ..receive.running import receiving
from .report import Section, table

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = range(1000, 1040)
EACH = 500
MOST_GROWTH = 1.25
"""The memory at the end, against that after half of the requests; clients and receivers are one process here."""


def fuzz(folder: Path) -> Section:
    """Send, and compare memory."""
    found: list[str] = []
    resident: list[int] = []
    process = psutil.Process()
    with receiving(Store(folder / "store.db"), Limits(request_bytes=50_000)) as receiver:
        for seed in SEEDS:
            run = Fuzz(receiver, seed)
            run.run(EACH)
            found += [f"seed {seed}: {each}" for each in run.found]
            resident.append(process.memory_info().rss)
        kept = receiver.in_flight.bytes
        found += receiver.said
    half, end = resident[len(resident) // 2], resident[-1]
    rows: list[tuple[object, ...]] = [
        ("requests", len(SEEDS) * EACH),
        ("answers that there must not be", len(found)),
        ("bytes in flight at the end", kept),
        ("resident MB after half of them, at the end", f"{half / 1e6:.0f}, {end / 1e6:.0f}"),
    ]
    lines = (*table(("what", "count"), rows), "", *(f"- FAILED: {each}" for each in found))
    return Section(lines, not found and not kept and end <= half * MOST_GROWTH)
