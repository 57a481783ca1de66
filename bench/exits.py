"""Row 5: how long a program takes to end when its receiver is dead, and what is left of its spans then.

Wall time, since waiting is what is measured; thus the stock programs may wait all at once.
"""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.figures import Samples
from otel_pipeline.queue import Signal
from otel_pipeline.queue.inspect import status

if TYPE_CHECKING:
    from pathlib import Path

    from bench.rounds import Bench
    from bench.rows import Row

_STOCK_ROUNDS = 3


def exits(bench: Bench, row: Row) -> Samples:
    """Seconds from a program's last line until it is gone; the case is told the exit timeout by ``row.argument``."""
    spans = row.size(bench.scale)
    ended = [_one(bench, row, "ours", spans, row.argument) for _ in range(min(bench.rounds, 5))]
    kept = sum(status(folder / "queue").pending.get(Signal.TRACES, 0) for _, folder in ended)
    longest = max(seconds for seconds, _ in ended)
    note = f"ours: {len(ended) * (spans + 1)} ended run and stage spans, {kept} on disk, longest {longest:.2f} s"
    stock = _stock(bench, row, spans)
    return Samples({"ours": [seconds for seconds, _ in ended], **stock.by_side}, f"{note}; {stock.note}")


def _stock(bench: Bench, row: Row, spans: int) -> Samples:
    """The same for every exit timeout of ours, so measured once."""
    key = ("exits", row.endpoint, spans)
    if key not in bench.kept:
        with ThreadPoolExecutor() as pool:
            rounds = range(min(bench.rounds, _STOCK_ROUNDS))
            ended = list(pool.map(lambda _: _one(bench, row, "stock", spans, "0"), rounds))
        files = sum(path.is_file() for _, folder in ended for path in folder.rglob("*"))
        note = f"stock: {len(ended) * spans} ended spans, {files} files left that could hold any"
        bench.kept[key] = Samples({"stock": [seconds for seconds, _ in ended]}, note)
    return bench.kept[key]


def _one(bench: Bench, row: Row, side: str, spans: int, timeout: str) -> tuple[float, Path]:
    folder = bench.new_folder()
    with subprocess.Popen(
        bench.command(row.case, side, spans, timeout),
        env=bench.environment(row.endpoint, folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # stock says there what it cannot send
        text=True,
    ) as process:
        assert process.stdout is not None
        done = float(process.stdout.readline())
        process.wait()
        gone = time.monotonic()
    return gone - done, folder
