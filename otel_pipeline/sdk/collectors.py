"""Collectors of the user's: each is asked on its interval, on a daemon thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from otel_pipeline.instrument import results
from otel_pipeline.instrument.registry import say_once

if TYPE_CHECKING:
    from otel_pipeline.instrument.business import Collector

MOST = 50


class _Threads:
    def __init__(self) -> None:
        self.stop = threading.Event()
        self.asked: set[int] = set()


_threads = _Threads()


def start(collector: Collector) -> None:
    """Ask it from now on. One that hangs holds up nobody but itself; a forked child asks none of its parent's."""
    if id(collector) in _threads.asked:
        return
    if len(_threads.asked) >= MOST:
        say_once("collectors", f"otel_pipeline: more than {MOST} collectors; the rest is not asked")
        return
    _threads.asked.add(id(collector))
    name = collector.function.__name__ if hasattr(collector.function, "__name__") else "collector"
    thread = threading.Thread(
        target=_ask, args=(collector, _threads.stop), name=f"otel_pipeline {name}"[:60], daemon=True
    )
    thread.start()


def stop() -> None:
    """Ask none any more."""
    _threads.stop.set()
    _threads.__init__()  # type: ignore[misc]


def _ask(collector: Collector, stopped: threading.Event) -> None:
    while True:
        try:
            collector.poll()
        except Exception as error:  # noqa: BLE001 - it is the user's
            name = getattr(collector.function, "__name__", "?")
            say_once(f"collector {name}", f"otel_pipeline: collector {name!r:.80} failed: {results.described(error)}")
        if stopped.wait(collector.every):
            return
