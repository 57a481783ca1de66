"""The measured process's part of a round. It imports nothing that the measured code might pay for otherwise."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Work = Callable[[], object]

SEPARATOR = ";"  # of sides, whose names have commas
ENDPOINT = os.environ.get("BENCH_ENDPOINT", "")
FOLDER = os.environ.get("BENCH_FOLDER", "")


def resident(sides: Mapping[str, Callable[[int], Work]]) -> None:
    """Set up the sides named on the command line, then work one round for each line read.

    A round's CPU time is all since the last: what the process's threads do between rounds belongs to them.
    """
    names, size = sys.argv[1].split(SEPARATOR), int(sys.argv[2])
    works = {name: work for name in names if (work := _prepared(sides[name], size)) is not None}
    print("ready", SEPARATOR.join(works), flush=True)
    before = time.process_time()
    for line in sys.stdin:
        works[line.strip()]()
        now = time.process_time()
        print((now - before) / size, flush=True)
        before = now
    os._exit(0)


def _prepared(prepare: Callable[[int], Work], size: int) -> Work | None:
    try:
        return prepare(size)
    except ModuleNotFoundError:  # a peer that is not installed here
        return None


def attributes(number: int) -> dict[str, str | int | float | bool]:
    """Eight attributes, half of them different from one span to the next."""
    return {
        "order.shop": "north",
        "order.batch": f"batch-{number // 10}",
        "order.source": "orders.csv",
        "order.currency": "EUR",
        "order.count": 1000 + number,
        "order.lines": 990 + number,
        "order.total": number * 0.37,
        "order.final": True,
    }
