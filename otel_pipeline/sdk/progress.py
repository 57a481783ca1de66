"""Live progress: a thread that shows, twice a second at most, how far the open runs are.

::

    registry: runs, their open stages ─┐                               ┌─► screen.py    below the cursor of a terminal
                                       ├─► Progress ─► RunProgress … ──┤
    processor: stages that have ended ─┘                               └─► notebook.py  a display of a cell

Without a terminal or a notebook there is no thread, and nothing that draws is loaded.
"""

from __future__ import annotations

import contextlib
import os
import threading
from time import perf_counter_ns
from typing import TYPE_CHECKING, Protocol

from otel_pipeline.instrument import registry
from otel_pipeline.instrument.context import current_frame
from otel_pipeline.sdk import notebook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_pipeline.instrument.run import Run
    from otel_pipeline.instrument.stage import Stage
    from otel_pipeline.sdk.handle import Handle
    from otel_pipeline.terminal.progress import RunProgress, StageProgress

_AFTER = 1_000_000_000  # nanoseconds: a run that is shorter is over before one could read
_MOST_RUNS = 4
_PATIENCE = 1.0


class Display(Protocol):
    """Where progress is shown, one state after the other."""

    def begin(self) -> None:
        """A run has begun on this thread, and there was none that was open."""

    def wait(self) -> None:
        """Wait until the next state is due."""

    def show(self, runs: Sequence[RunProgress]) -> None:
        """Show them instead of what was shown before."""

    def clear(self) -> None:
        """Leave nothing of what was shown."""


def follow(handle: Handle) -> None:
    """Show progress as the settings say, or, when they have changed, as they say now."""
    display = None if _within_another_process() else _display(handle.settings.progress)
    if display is None and handle._progress is not None:
        handle._progress.stop()
        handle._progress = None
    elif display is not None and handle._progress is None:
        handle._progress = progress = Progress(display)
        if handle._processor is not None:
            handle._processor.progress = progress
        if handle._lifecycle is not None:
            registry.listen(handle._lifecycle, progress)
        progress.begin()


def _display(setting: str) -> Display | None:
    """By the setting: auto, always or never."""
    if setting == "never":
        return None
    if notebook.in_kernel():
        return notebook.Notebook()
    from otel_pipeline.sdk import screen  # noqa: PLC0415 - only where there may be one

    return screen.on_stderr(always=setting == "always")


def _within_another_process() -> bool:
    """Whether this process was started by code inside a run, which is shown where it was begun."""
    return current_frame() is not None and registry.script() is None


class Progress:
    """Listens to the registry. Nothing here raises; a forked child shows nothing."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._pid = os.getpid()
        self._stop = threading.Event()
        self._lock = threading.Lock()  # held while something is shown or cleared
        self._works = False
        self._begun = False
        self._ended: dict[str, int] = {}  # how many stages, by run id

    def run_started(self, run: Run) -> None:
        """See RunListener."""
        del run
        self.begin()

    def run_ended(self, run: Run) -> None:
        """See RunListener. After the last one nothing is left of it when the program goes on."""
        if os.getpid() == self._pid and not _open_runs():
            self._ended.clear()
            self._clear()
        else:
            self._ended.pop(run.id, None)

    def stage_ended(self, run_id: str | None) -> None:
        """A stage has ended."""
        if run_id is not None and (run_id in self._ended or len(self._ended) < 1000):
            self._ended[run_id] = self._ended.get(run_id, 0) + 1

    def begin(self) -> None:
        """Show what is open, from now on until nothing is."""
        if os.getpid() != self._pid or self._stop.is_set() or not _open_runs() or not self._take():
            return
        try:
            with contextlib.suppress(Exception):
                if not self._begun:
                    self._display.begin()
                    self._begun = True
                if not self._works:
                    threading.Thread(target=self._work, name="otel_pipeline progress", daemon=True).start()
                    self._works = True
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Show nothing any more."""
        self._stop.set()
        if os.getpid() == self._pid:
            self._clear()

    def _clear(self) -> None:
        if self._take():
            try:
                self._begun = False
                with contextlib.suppress(Exception):
                    self._display.clear()
            finally:
                self._lock.release()

    def _take(self) -> bool:
        # Bounded: whatever a display may come to wait for, the program does not.
        return self._lock.acquire(timeout=_PATIENCE)

    def _work(self) -> None:
        try:
            while True:
                self._display.wait()
                with self._lock:
                    if self._stop.is_set() or not (runs := _open_runs()):
                        self._works = False
                        return
                    self._show(runs)
        except Exception:  # noqa: BLE001 - see the module: what cannot be shown is not worth a word among the user's
            self._stop.set()
            self._clear()

    def _show(self, runs: Sequence[Run]) -> None:
        now = perf_counter_ns()
        old = [run for run in runs if now - _began(run) >= _AFTER and not run.ended and self._has_something(run)]
        if old:
            self._display.show([_progress(run, now, self._ended.get(run.id, 0)) for run in old[:_MOST_RUNS]])

    def _has_something(self, run: Run) -> bool:
        """A script's run may be any program's, of which there is nothing to say before it has a stage."""
        return bool(run.began or run.stages or run.id in self._ended)


def _open_runs() -> list[Run]:
    """The open runs of this process, the script's own among them."""
    script = registry.script()
    own = script is not None and not script.taken and script.pid == os.getpid()
    return [script, *registry.open_runs()] if own and script is not None else registry.open_runs()


def _began(run: Run) -> int:
    return run.began or run.entered  # a script's run is entered at once, and begun at its end


def _progress(run: Run, now: int, ended: int) -> RunProgress:
    from otel_pipeline.terminal.progress import MOST_STAGES, RunProgress  # noqa: PLC0415 - loads rich

    stages = list(run.stages.values())
    drawn = [_stage(stage, now) for stage in stages[:MOST_STAGES]]
    return RunProgress(run.name, (now - _began(run)) / 1e9, drawn, ended, len(stages) - len(drawn))


def _stage(stage: Stage, now: int) -> StageProgress:
    from otel_pipeline.terminal.progress import StageProgress  # noqa: PLC0415 - loads rich

    records, total = stage.records, stage.total
    into = records.get("in")
    return StageProgress(
        stage.name,
        max(now - stage.began, 0) / 1e9,
        into,
        records.get("out"),
        records.get("failed"),
        into if total is None else stage.done,
        total,
        tuple(stage.upstream),
    )
