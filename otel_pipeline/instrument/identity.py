"""Ids that are fixed before their span exists.

A script's run has its identity from the start of the process (so that spans can hang below it), but its span is made by
whoever ends it: the first ``pipeline`` of the script, the end of the process, or the parent ``otel-pipeline run``. The
maker plans the ids here; the SDK's id generator (``sdk/identity.py``) takes them for the next span of this thread.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import SpanContext


class _Planned(threading.local):
    context: SpanContext | None = None


_planned = _Planned()


@contextmanager
def planned(context: SpanContext | None) -> Iterator[None]:
    """The next span that this thread starts inside the block gets the ids of ``context``, if there is one."""
    _planned.context = context
    try:
        yield
    finally:
        _planned.context = None


def take_trace_id() -> int | None:
    """The planned trace id, if there is one."""
    return _planned.context.trace_id if _planned.context else None


def take_span_id() -> int | None:
    """The planned span id, if there is one; only one span gets it."""
    if (context := _planned.context) is None:
        return None
    _planned.context = None
    return context.span_id


def new_run_id() -> str:
    """A UUID version 7 (RFC 9562): sorted by time, so that a store's index of runs stays local."""
    milliseconds = time.time_ns() // 1_000_000
    number = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
