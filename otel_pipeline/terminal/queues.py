"""What `otel-pipeline queue` prints: plain lines, for people, cron and sidecars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_pipeline.terminal.figures import duration, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otel_pipeline.queue.counts import Counts
    from otel_pipeline.queue.inspect import FileInfo, QueueStatus


def status_lines(status: QueueStatus, now: float) -> Iterator[str]:
    """The folder in a few lines; ``now`` in seconds since the epoch."""
    yield f"queue     {status.folder}"
    yield f"files     {status.files} ({status.live} live, {status.orphans} of ended processes), {size(status.size)}"
    oldest = f", the oldest {duration(max(0.0, now - status.oldest))} old" if status.oldest is not None else ""
    yield f"waiting   {items(status.pending)}{oldest}"
    yield f"rejected  {items(status.rejected)}"
    if status.corrupt_bytes:
        yield f"corrupt   {size(status.corrupt_bytes)}"
    if status.newer:
        yield f"newer     {status.newer} of a later version of otel_pipeline, left for that"


def list_lines(files: Sequence[FileInfo], now: float) -> Iterator[str]:
    """One line a file, and why it was set aside."""
    for file in files:
        age = duration(max(0.0, now - file.modified))
        head = f"{file.state.value:9} {file.pid or '?':>7}  {size(file.size):>8}  {age:>7}"
        yield f"{head}  {items(file.pending):30}  {file.path.name}"
        for note in file.notes:
            yield f"          {note}"


def drain_lines(complete: bool, counts: Counts) -> Iterator[str]:
    """What was delivered, and what became of the rest."""
    yield f"delivered {counts.total('delivered')} items in {counts.total('requests')} requests"
    for event, said in _LEFT.items():
        if number := counts.total(event):
            yield f"{event:9} {number} {said}"
    if not complete:
        yield f"left      some; the last answer: {counts.last_error or 'none in time'}"


_LEFT = {
    "rejected": "items refused for good and set aside; see `otel-pipeline queue list`",
    "refused": "items dropped by the receiver from requests that it otherwise took",
}


def as_json(status: QueueStatus, files: Sequence[FileInfo]) -> dict[str, Any]:
    """Both as one JSON object: sizes in bytes, items by signal, times in seconds since the epoch."""
    return {
        "folder": str(status.folder),
        "files": [
            {
                "name": file.path.name,
                "state": file.state.value,
                "pid": file.pid or None,
                "size": file.size,
                "modified": file.modified,
                "pending": _by_name(file.pending),
                "notes": list(file.notes),
            }
            for file in files
        ],
        "size": status.size,
        "pending": _by_name(status.pending),
        "rejected": _by_name(status.rejected),
        "corrupt_bytes": status.corrupt_bytes,
        "oldest": status.oldest,
    }


def _by_name(items: Mapping[Any, int]) -> dict[str, int]:
    return {signal.label: number for signal, number in sorted(items.items())}


def items(counts: Mapping[Any, int]) -> str:
    """Items by signal, for people: ``3 traces, 1 logs``, or nothing."""
    return ", ".join(f"{number} {name}" for name, number in _by_name(counts).items()) or "nothing"
