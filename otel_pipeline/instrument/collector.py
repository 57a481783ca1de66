"""Finalizers and the context: what a collection must not free.

Before Python 3.12 the garbage collector may run in the middle of ``ContextVar.set``, at an allocation there. A
generator that it ends then unwinds, our stages in it end, and each sets the context in turn; the outer ``set`` goes on
reading the values that these have replaced, and freed. So whatever of ours may run in a finalizer first holds the
values that there are, until this thread does something of ours outside of a collection. From 3.12 on the collector
runs between instructions, and there is nothing to do.
"""

from __future__ import annotations

import gc
import sys
import threading
from contextvars import Context, copy_context
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class _Held(threading.local):
    def __init__(self) -> None:
        self.contexts: list[Context] = []


_held = _Held()
_collecting = 0  # the thread that collects now; there is one collection at a time


def _watch(phase: str, info: dict[str, Any]) -> None:
    del info
    global _collecting  # noqa: PLW0603 - there is one collector
    _collecting = get_ident() if phase == "start" else 0


def shield() -> None:
    """To be called before the context is set by what may be a finalizer."""
    if _collecting and _collecting == get_ident():
        _held.contexts.append(copy_context())
    elif _held.contexts:
        _held.contexts.clear()


if sys.version_info < (3, 12):
    gc.callbacks.append(_watch)
