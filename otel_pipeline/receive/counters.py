"""What the receivers count about themselves, for ``GET /metrics``: a row each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from threading import Lock

_LABEL_BREAKS = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass(frozen=True)
class Row:
    """One counter: its name in Prometheus, what it counts, its labels."""

    name: str
    description: str
    labels: tuple[str, ...] = ()


REQUESTS = Row(
    "otel_pipeline_receive_requests_total",
    "Requests, by what was answered: accepted, partial, refused, too_large, later, broken (the client went away), "
    "unsupported (HTTP: another content type or encoding).",
    ("signal", "transport", "outcome"),
)
BYTES = Row("otel_pipeline_receive_bytes_total", "Bytes of requests, unpacked.", ("signal", "transport"))
VALUES = Row(
    "otel_pipeline_receive_values_total",
    "What became of runs, stages and signs of life: runs, stages, seen, repeated, corrected, late, and additions that "
    "overflowed.",
    ("outcome",),
)
LEFT_OUT = Row(
    "otel_pipeline_receive_left_out_total",
    "What could not be used, by reason: foreign (not ours); trace_id, span_id, time, attributes (the item is left "
    "out); attribute, count, clock (only that part of it).",
    ("signal", "reason"),
)
COMMITS = Row("otel_pipeline_receive_commits_total", "Transactions of the store: done, failed.", ("outcome",))
POISONOUS = Row("otel_pipeline_receive_poisonous_total", "Requests that were refused since storing them failed.")
JOBS = Row("otel_pipeline_serve_jobs_total", "Background jobs: done, failed.", ("job", "outcome"))

ROWS = (REQUESTS, BYTES, VALUES, LEFT_OUT, COMMITS, POISONOUS, JOBS)
"""All of them, in the order of ``GET /metrics``."""


class Counters:
    """The counts of one process, from any thread."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Row, tuple[str, ...]]] = Counter()
        self._lock = Lock()

    def add(self, row: Row, *labels: str, amount: int = 1) -> None:
        """Count ``amount`` more; ``labels`` are the values of the row's labels in their order."""
        with self._lock:
            self._counts[row, labels] += amount

    def get(self, row: Row, *labels: str) -> int:
        """What was counted."""
        with self._lock:
            return self._counts[row, labels]

    def as_prometheus(self) -> str:
        """All of them in Prometheus's text format."""
        with self._lock:
            counts = dict(self._counts)
        lines: list[str] = []
        for row in ROWS:
            found = sorted((labels, count) for (of, labels), count in counts.items() if of == row)
            if found or not row.labels:
                lines += [f"# HELP {row.name} {row.description}", f"# TYPE {row.name} counter"]
                lines += [f"{row.name}{_text(row, labels)} {count}" for labels, count in found or [((), 0)]]
        return "".join(f"{line}\n" for line in lines)


def _text(row: Row, labels: tuple[str, ...]) -> str:
    pairs = zip(row.labels, labels, strict=True)
    told = ",".join(f'{name}="{value.translate(_LABEL_BREAKS)}"' for name, value in pairs)
    return f"{{{told}}}" if told else ""
