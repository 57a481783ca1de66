"""Row 10: CPU time of what is asked of a store with many runs, and beside it, as a note, the time by the clock."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.rounds import resident

if TYPE_CHECKING:
    from bench.figures import Samples
    from bench.rounds import Bench, Row


def growth(bench: Bench, row: Row) -> Samples:
    """``resident``, with the medians by the clock as its note. The processes of all rows share the stores."""
    found = resident(bench, row)
    walls = {side: [float(line) for line in (bench.folder / f"{side}.wall").read_text().split()] for side in row.sides}
    found.note = "by the clock " + ", ".join(
        f"{side}: {statistics.median(values) * 1e3:.1f} ms" for side, values in walls.items()
    )
    return found
