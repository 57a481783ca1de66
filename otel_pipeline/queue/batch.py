"""Items gathered for a tenth of a second, so that many share one record and one resource.

The thread sleeps until there is an item, then once for the interval: an idle process is never woken.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Batcher"]

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """Hands lists of at most `size` items to `store`, within `interval_s` seconds of the first.

    `store` runs on the batcher's thread, or on the caller's when `size` items have gathered or `flush` is called; it
    must not raise. Forked children begin with no items: the parent's are the parent's.
    """

    def __init__(self, store: Callable[[list[Item]], None], *, interval_s: float = 0.1, size: int = 512) -> None:
        self._store = store
        self._interval_s = interval_s
        self._size = size
        self._begin()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self._begin)
            os.register_at_fork(after_in_child=lambda: (method := reset()) and method())

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._storing = threading.RLock()
        self._items: list[Item] = []
        self._some = threading.Event()
        self._hurry = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def add(self, item: Item) -> None:
        """Keep one item for the next list; after `stop` it is stored at once."""
        with self._lock:
            self._items.append(item)
            count = len(self._items)
        if count >= self._size or self._stopped:
            self.flush()
        elif count == 1:
            self._start()
            self._some.set()

    def flush(self) -> None:
        """Store what has gathered, in the caller's thread; on return it, and what others took, is stored."""
        with self._storing:
            with self._lock:
                items, self._items = self._items, []
            if items:
                self._store(items)

    def stop(self) -> None:
        """Store what has gathered and end the thread; harmless twice."""
        self._stopped = True
        self._some.set()
        self._hurry.set()
        self.flush()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="otel-pipeline-batch", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is going down: there will be no later
                self._stopped = True
                self.flush()

    def _run(self) -> None:
        while not self._stopped:
            self._some.wait()
            self._hurry.wait(self._interval_s)
            self._some.clear()
            self.flush()
