"""Rounds: ours, a peer, ours, a peer … each in a process that does nothing else, CPU time of all its threads.

Two ways. *Resident*: the process sets itself up once and then works whenever it is told to, so that the rounds of all
sides lie milliseconds apart. *Fresh*: a new process for each round, for what can happen only once in one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cases.child import SEPARATOR
from bench.endpoints import KINDS
from bench.figures import Samples
from bench.venv import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from bench.rows import Row


@dataclass
class Bench:
    """Where and how often to measure. ``scale`` chooses among a row's sizes; ``folder`` lies on a real disk."""

    python: Path
    folder: Path
    rounds: int
    scale: str = "full"
    extra: dict[str, str] = field(default_factory=dict)  # environment variables, for the bench's own tests
    kept: dict[object, Samples] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _urls: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def url(self, kind: str) -> str:
        """The URL of an endpoint of this kind, open from now on."""
        if kind not in self._urls:
            self._urls[kind] = self._stack.enter_context(KINDS[kind]())
        return self._urls[kind]

    def new_folder(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def environment(self, endpoint: str, folder: Path) -> dict[str, str]:
        """For a measured process: nothing of OpenTelemetry's or ours is configured but by the case itself."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
        return (
            kept
            | self.extra
            | {
                "PYTHONPATH": str(ROOT),
                "BENCH_ENDPOINT": self.url(endpoint),
                "BENCH_FOLDER": str(folder),
                "HOME": str(folder),
                "TMPDIR": str(folder),
            }
        )

    def command(self, case: str, *arguments: object) -> list[str]:
        """How to start a case. By its path: `-m` would load modules that the measured imports need as well."""
        return [str(self.python), str(ROOT / "bench" / "cases" / f"{case}.py"), *map(str, arguments)]


class _Resident:
    """A process with one or more sides, which works when it is told to."""

    def __init__(self, bench: Bench, row: Row, sides: Sequence[str]) -> None:
        folder = bench.new_folder()
        self._said = folder / "stderr"
        with self._said.open("w") as stderr:
            self._process = subprocess.Popen(
                bench.command(row.case, SEPARATOR.join(sides), row.size(bench.scale)),
                env=bench.environment(row.endpoint, folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.sides = [side for side in self._answer().split(SEPARATOR) if side]

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"a measured process ended: {self._said.read_text()}")
        return line.strip().removeprefix("ready").strip()

    def work(self, side: str) -> float:
        """One round of a side: CPU seconds per item, with what its background threads did since the last."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{side}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def resident(bench: Bench, row: Row) -> Samples:
    """Every side in its own process; the sides of a row that is ``together`` share one."""
    groups = [row.sides] if row.together else [(side,) for side in row.sides]
    processes: list[_Resident] = []
    try:
        for sides in groups:
            processes.append(_Resident(bench, row, sides))
        works = {side: partial(process.work, side) for process in processes for side in process.sides}
        return _interleaved(works, bench.rounds).above(row.above)
    finally:
        for process in processes:
            process.stop()


def fresh(bench: Bench, row: Row) -> Samples:
    """A new process for each side and round; what it prints is the sample."""
    return _interleaved({side: partial(_once, bench, row, side) for side in row.sides}, bench.rounds).above(row.above)


def whole(bench: Bench, row: Row) -> Samples:
    """A new process for each side and round; the CPU time of its whole life is the sample."""

    def one(side: str) -> float:
        before = _children_cpu()
        _once(bench, row, side)
        return _children_cpu() - before

    return _interleaved({side: partial(one, side) for side in row.sides}, bench.rounds).above(row.above)


def _once(bench: Bench, row: Row, side: str) -> float:
    """What a case printed, in a process of its own; not a number where the side's peer is not installed."""
    run = subprocess.run(
        bench.command(row.case, side, row.size(bench.scale), row.argument),
        env=bench.environment(row.endpoint, bench.new_folder()),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode and "ModuleNotFoundError" not in run.stderr:
        raise RuntimeError(f"a measured process ended with status {run.returncode}: {run.stderr}")
    return float("nan") if run.returncode else float(run.stdout)


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _interleaved(sides: Mapping[str, Callable[[], float]], rounds: int) -> Samples:
    found: dict[str, list[float]] = {side: [] for side in sides}
    order = list(sides)
    for number in range(rounds + 1):
        shift = number % len(order)
        for side in order[shift:] + order[:shift]:
            value = sides[side]()
            if number:  # the first round loads what is loaded late, and fills the caches
                found[side].append(value)
        print(".", end="", flush=True, file=sys.stderr)
    return Samples({side: values for side, values in found.items() if not any(map(isnan, values))})
