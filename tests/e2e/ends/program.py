"""A pipeline that ends in the way it is told: ``python program.py END --truth FILE --gates FOLDER [--plain]``.

::

    run whole ─┬─ run first ─── stage extract, stage load
               ├─ (gate: outage)    stage meanwhile
               ├─ (gate: recovery)  stage afterwards
               └─ END

At a gate it says so and waits until a file of that name is there, so that the test can break and mend its Collector at
a known place. With ``--plain`` it does all the same without a word to us: how such a program ends by itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from truth import AT_GATE, ENDED, HELD, Truth, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import BaseContext

WORKERS = 2


class Plain:
    """The program without us: nothing is told."""

    def setup(self) -> None:
        """Do nothing."""

    def scope(self, kind: str, name: str, records: int) -> AbstractContextManager[Any]:
        """Nothing, as a context manager."""
        return nullcontext()

    def span_id(self) -> str:
        """There is none."""
        return ""


class Ours:
    """The program with us, by the public names only."""

    def setup(self) -> None:
        """The one line."""
        import otel_pipeline as op

        op.setup()

    @contextmanager
    def _stage(self, name: str, records: int) -> Iterator[None]:
        import otel_pipeline as op

        with op.stage(name) as stage:
            stage.add(records_in=records)
            yield

    def scope(self, kind: str, name: str, records: int) -> AbstractContextManager[Any]:
        """A run or a stage."""
        import otel_pipeline as op

        return self._stage(name, records) if kind == "stage" else op.pipeline(name)

    def span_id(self) -> str:
        """Of the span that is current, in hexadecimal."""
        from opentelemetry.trace import get_current_span

        return f"{get_current_span().get_span_context().span_id:016x}"


class Account:
    """Opens runs and stages and says in the truth what became of them."""

    def __init__(self, truth: Truth, library: Plain | Ours) -> None:
        self.truth = truth
        self.library = library

    @contextmanager
    def _told(self, kind: str, name: str, records: int = 0) -> Iterator[None]:
        full, span_id = f"{kind} {name}", ""
        try:
            with self.library.scope(kind, name, records):
                span_id = self.library.span_id()
                self.truth.say("opened", full, span_id, records)
                yield
        finally:
            self.truth.say(ENDED, full, span_id, records)

    def run(self, name: str) -> AbstractContextManager[None]:
        """A run; its end is told when it has returned, with or without an exception."""
        return self._told("run", name)

    def stage(self, name: str, records: int) -> AbstractContextManager[None]:
        """A stage, likewise."""
        return self._told("stage", name, records)

    def ended(self, name: str) -> dict[int, int]:
        """How many scopes of that name each process has ended."""
        counts: dict[int, int] = {}
        for line in read(self.truth.path):
            if line.event == ENDED and line.name == name:
                counts[line.pid] = counts.get(line.pid, 0) + 1
        return counts


class _Process:
    account: Account


def join(truth: str, plain: bool) -> None:
    """Know where to tell the truth: in the main process, and in each worker as its initialiser."""
    _Process.account = Account(Truth(truth), Plain() if plain else Ours())


def work(number: int) -> int:
    """A worker's task: one stage."""
    with _Process.account.stage("work", number + 1):
        time.sleep(0.01)
    return number


def work_without_end(_: int = 0) -> NoReturn:
    """A worker's task that only a signal ends: stage after stage."""
    while True:
        work(0)


def exit_0(options: argparse.Namespace) -> None:
    """End by itself."""


def exit_3(options: argparse.Namespace) -> None:
    """sys.exit inside a stage."""
    with _Process.account.stage("last", 2):
        sys.exit(3)


def exception(options: argparse.Namespace) -> None:
    """An exception that nobody catches."""
    with _Process.account.stage("last", 2):
        raise RuntimeError("the warehouse is closed")


def hold(options: argparse.Namespace) -> None:
    """Be in the middle of a stage until a signal comes."""
    with _Process.account.stage("held", 2):
        _Process.account.truth.say(HELD)
        while True:
            time.sleep(0.02)


def os_exit(options: argparse.Namespace) -> None:
    """Leave without the interpreter's end."""
    with _Process.account.stage("held", 2):
        os._exit(5)


def eat_memory(options: argparse.Namespace) -> None:
    """Take memory until the kernel ends the process."""
    with _Process.account.stage("held", 2):
        eaten = []
        while True:
            eaten.append(bytearray(os.urandom(1 << 20)))


def pool(options: argparse.Namespace, method: str) -> None:
    """A pool, of which each worker runs stages, and which is closed and joined."""
    context = multiprocessing.get_context(method)
    with context.Pool(WORKERS, initializer=join, initargs=(options.truth, options.plain)) as workers:
        with _Process.account.stage("fan out", 4):
            assert workers.map(work, range(6), chunksize=1) == list(range(6))
        assert sorted(workers.imap_unordered(work, range(4))) == list(range(4))
        workers.close()
        workers.join()


def terminate(options: argparse.Namespace) -> None:
    """A pool and a process that are terminated while their workers are in the middle of a stage."""
    context = multiprocessing.get_context("fork")
    with context.Pool(WORKERS, initializer=join, initargs=(options.truth, options.plain)) as workers:
        process = _process(context)
        process.start()
        workers.map_async(work_without_end, range(WORKERS), chunksize=1)
        wait_until(lambda: sum(n >= 3 for n in _Process.account.ended("stage work").values()) == WORKERS + 1)
        process.terminate()
        process.join()
        workers.terminate()
        workers.join()
    with _Process.account.stage("survivor", 1):
        pass


def _process(context: BaseContext) -> multiprocessing.Process:
    made: multiprocessing.Process = context.Process(target=work_without_end)  # type: ignore[attr-defined]
    return made


ENDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "exit 0": exit_0,
    "exit 3": exit_3,
    "exception": exception,
    "hold": hold,
    "os._exit": os_exit,
    "eat memory": eat_memory,
    "fork pool": lambda options: pool(options, "fork"),
    "spawn pool": lambda options: pool(options, "spawn"),
    "terminate": terminate,
}


def wait_until(there: Callable[[], bool]) -> None:
    """Wait without a bound: whoever started the program has one."""
    while not there():
        time.sleep(0.01)


def gate(options: argparse.Namespace, name: str) -> None:
    """Say that the program is here, and wait to be let through."""
    _Process.account.truth.say(AT_GATE, name)
    wait_until((Path(options.gates) / name).exists)


def main() -> None:
    """The pipeline."""
    parser = argparse.ArgumentParser()
    parser.add_argument("end", choices=ENDS)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--gates", required=True)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    join(options.truth, options.plain)
    account = _Process.account
    account.library.setup()
    with account.run("whole"):
        with account.run("first"):
            with account.stage("extract", 10):
                pass
            with account.stage("load", 7):
                pass
        gate(options, "outage")
        with account.stage("meanwhile", 5):
            pass
        gate(options, "recovery")
        with account.stage("afterwards", 3):
            pass
        ENDS[options.end](options)


if __name__ == "__main__":
    main()
