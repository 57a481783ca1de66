"""Drains a queue folder as the command line does: ``python drain.py FOLDER URL SECONDS``; prints what happened as JSON.

A process of its own, since draining is what the next process on a host does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from otel_pipeline.queue import QueueSettings, SenderSettings
from otel_pipeline.queue.inspect import drain

if __name__ == "__main__":
    folder, url, seconds = sys.argv[1:]
    complete, counts = drain(QueueSettings(Path(folder)), SenderSettings(endpoint=url), timeout_s=float(seconds))
    totals: dict[str, int] = {}
    for (event, _), amount in counts.snapshot().items():
        totals[event] = totals.get(event, 0) + amount
    json.dump({"complete": complete, "counts": totals, "last_error": counts.last_error}, sys.stdout)
