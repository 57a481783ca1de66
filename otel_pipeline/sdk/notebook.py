"""In a Jupyter kernel: what is shown in the cell's output, as text.

A run's progress is one display that is updated; its summary another, below what the cell printed. Both are made by
IPython's own means, which may be used from any thread. IPython is not imported: a kernel has loaded it.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.terminal.progress import RunProgress

WIDTH = 100
"""Columns of text: what fits beside a notebook's prompts on most pages."""
_MOST_LINES = 16
_INTERVAL = 1.0  # seconds between two states


def in_kernel() -> bool:
    """Whether this process is a notebook's kernel. IPython on a terminal is none."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    with contextlib.suppress(Exception):
        return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None
    return False


def show_summary(run: Run, stages: Sequence[Stage]) -> None:
    """The summary as an output of the cell."""
    from otel_pipeline.terminal.printing import plain, summary  # noqa: PLC0415 - loads rich: only where it is shown

    _display(plain(summary(run, stages, WIDTH), WIDTH))


class Notebook:
    """Shows progress in the cell that began the first of the runs that are open."""

    def __init__(self) -> None:
        self._cell = contextvars.copy_context()
        self._id: str | None = None

    def begin(self) -> None:
        """See Display. IPython keeps in the context which cell's output something is."""
        self._cell = contextvars.copy_context()

    def wait(self) -> None:
        """See Display."""
        time.sleep(_INTERVAL)

    def show(self, runs: Sequence[RunProgress]) -> None:
        """Show them instead of what was shown before."""
        from otel_pipeline.terminal.printing import plain  # noqa: PLC0415 - loads rich, first used here
        from otel_pipeline.terminal.progress import progress  # noqa: PLC0415

        text = plain(progress(runs, WIDTH, _MOST_LINES), WIDTH)
        shown, self._id = self._id, self._id or f"otel-pipeline-{os.urandom(8).hex()}"
        self._cell.run(_display, text, self._id, update=shown is not None)

    def clear(self) -> None:
        """Show nothing where it was: a display cannot be taken back."""
        shown, self._id = self._id, None
        if shown is not None:
            self._cell.run(_display, "", shown, update=True)
        self._cell = contextvars.Context()  # holds what the program's variables hold


def _display(text: str, name: str | None = None, *, update: bool = False) -> None:
    import_module("IPython.display").display({"text/plain": text}, raw=True, display_id=name, update=update)
