"""Processes that multiprocessing starts: set up like their parent, in its context, and heard before they go.

::

    parent: Process.start() ─► Passport, pickled: settings, context ─► spawned child: unpickled, set up, in that context
                               (a forked child has both already)       either: its telemetry is sent at its end
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from otel_pipeline.instrument.context import carrier, current
from otel_pipeline.sdk import pools

# Seconds for a request that is on its way when a child ends: cut off, what it brings would be sent once more.
# Not longer, since a pool may start a process for every task.
_GOODBYE = 0.25


class Passport:
    """Goes along with a ``multiprocessing.Process``; unpickled in a spawned child, it sets that up like its parent."""

    def __reduce__(self) -> tuple[Any, ...]:
        from otel_pipeline.sdk import setup  # noqa: PLC0415 - which imports this module

        handle = setup.current_handle()
        values = handle.settings.values() if handle is not None and not handle.stopped else None
        return (_arrive, (values, carrier()))


def ends() -> None:
    """A child process ends: what it would leave behind in memory is stored."""
    from otel_pipeline.sdk import setup  # noqa: PLC0415

    if (handle := setup.current_handle()) is not None:
        handle.store(handle.settings.exit_timeout)
        # All is on disk; its parent, or whoever comes next, delivers the rest.
        handle.hang_up(min(handle.settings.exit_timeout, _GOODBYE))


def patience() -> float:
    """How many seconds a child has for ``ends``."""
    from otel_pipeline.sdk import setup  # noqa: PLC0415

    handle = setup.current_handle()
    return handle.settings.exit_timeout if handle is not None else 0.0


def is_one() -> bool:
    """Whether this process is one that multiprocessing has started by a command line, also for its own purposes."""
    words = getattr(sys, "orig_argv", [])
    return "--multiprocessing-fork" in words or any(word.startswith("from multiprocessing.") for word in words)


def _arrive(values: dict[str, Any] | None, variables: dict[str, str]) -> Passport:
    from otel_pipeline.sdk import setup  # noqa: PLC0415

    if values is not None:
        with contextlib.suppress(Exception):
            setup.join(values)
            current.set(pools.context_of(variables))
    return Passport()
