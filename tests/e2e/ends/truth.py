"""What a program says of itself, in a file of its own: which runs and stages it has opened and ended.

One JSON object a line, each appended by one write, so several processes share the file and a kill tears no line but the
last. It is the program's account and not ours: the lines are written after the call that ends a stage has returned.
Nothing but the standard library is loaded here, since the same program also runs without us.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OPENED = "opened"
ENDED = "ended"
AT_GATE = "at gate"
HELD = "held"


@dataclass(frozen=True)
class Line:
    """One line: what happened, to what, in which process, and when in nanoseconds since the epoch.

    `name` is a span's (`stage load`) or a gate's; `span_id` is hexadecimal; `records` went into the stage.
    """

    event: str
    name: str = ""
    span_id: str = ""
    records: int = 0
    pid: int = 0
    at: int = 0


class Truth:
    """The writing side. `safe` has each line survive a loss of power as well; without, it survives a kill only."""

    def __init__(self, path: str | os.PathLike[str], *, safe: bool = True) -> None:
        self.path = Path(path)
        self._safe = safe

    def say(self, event: str, name: str = "", span_id: str = "", records: int = 0) -> None:
        """Append a line; it is in the file when this returns."""
        line = Line(event, name, span_id, records, os.getpid(), time.time_ns())
        # Opened anew each time: children that were forked or spawned need no care.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(asdict(line)).encode() + b"\n")
            if self._safe:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path) -> list[Line]:
    """The lines so far, without one that is being written; none when there is no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [Line(**json.loads(line)) for line in data.split(b"\n")[:-1]]


def spans(lines: Iterable[Line], event: str) -> dict[str, str]:
    """Span id → name of what was opened or ended."""
    return {line.span_id: line.name for line in lines if line.event == event}
