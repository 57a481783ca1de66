"""Whose time it is.

A frame is something that time is charged to: a run or a stage. It is *busy* from when it is entered until it is left (a
lazy stage many times, once per pull); the parts in which frames below it on the same thread were busy are *covered*::

    run       ├──────────────────────────────┤          busy
    stage            ├──────────┤  ├──┤                 busy; covers the run
    upstream            ├──┤                            busy; covers the stage: the stage waited

    self time = busy - covered.        On one thread the self times of a run and its stages add up to its wall time.

Every crossing reads the clock once, and one reading ends one interval and begins the next: nothing is lost between.
Overlapping frames below one frame (asyncio tasks) cover their union once, and only while it is busy itself, so that no
self time is negative; the sum can then be more than the wall time. Frames on other threads cover nothing: the one that
waits for them is itself waiting.
"""

from __future__ import annotations

from threading import get_ident
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_pipeline.instrument.run import Run
    from otel_pipeline.instrument.stage import Stage


class Frame:
    """Times in nanoseconds of ``perf_counter_ns``.

    ``pulled`` counts the records that its code pulled from lazy stages, ``yielded`` those that it handed on as one.
    """

    __slots__ = ("below", "busy", "covered", "entered", "left", "pulled", "since", "thread", "waited", "yielded")

    def __init__(self) -> None:
        self.busy = 0
        self.covered = 0
        self.waited = 0
        self.pulled = 0
        self.yielded = 0
        self.below = 0  # how many frames directly below this one are busy now
        self.since = 0  # since when they cover this one: when the first of them became busy, or this one did
        self.entered = 0  # when this one became busy; 0 when it is not
        self.left = 0  # when it was busy last
        self.thread = 0

    @property
    def run(self) -> Run | None:
        """The run that it belongs to."""
        return None

    @property
    def stage(self) -> Stage | None:
        """The stage that it is or belongs to."""
        return None

    def enter(self, outer: Frame | None) -> Frame | None:
        """Become busy. Returns the frame to hand to ``leave``: ``outer`` where it is covered by this one."""
        self.thread = thread = get_ident()
        self.entered = now = perf_counter_ns()
        if self.below:
            self.since = now
        if outer is None or outer.thread != thread:
            return None
        if not outer.below:
            outer.since = now
        outer.below += 1
        return outer

    def leave(self, covers: Frame | None) -> int:
        """Stop being busy. Returns how long it was, in nanoseconds."""
        now = perf_counter_ns()
        lasted = self.pause(now)
        if covers is not None:
            covers.below -= 1
            if not covers.below and covers.entered:
                covers.covered += now - covers.since
        return lasted

    def pause(self, now: int) -> int:
        """Stop being busy while what is below stays open. Returns how long it was busy: 0 where it was not."""
        if not self.entered:
            return 0
        lasted = now - self.entered
        self.busy += lasted
        if self.below:
            self.covered += now - self.since
        self.entered = 0
        self.left = now
        return lasted

    def go_on(self, now: int, thread: int) -> None:
        """Be busy again after ``pause``, maybe on another thread."""
        self.entered = self.since = now
        self.thread = thread

    def own_time(self, until: int | None = None) -> int:
        """The self time until now, or ``until`` a time of the steady clock, in nanoseconds."""
        until = perf_counter_ns() if until is None else until
        busy, covered = self.busy, self.covered
        if self.entered:
            busy += until - self.entered
            covered += until - self.since if self.below else 0
        return max(0, busy - covered)
