"""Rows 1 and 1b: what a record costs. Items are records."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import otel_pipeline as op
from bench.cases import child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


def _bare(size: int) -> Callable[[], None]:
    rows = list(range(size))

    def work() -> None:
        for _ in rows:
            pass

    return work


def _track(size: int) -> Callable[[], None]:
    rows = list(range(size))

    def work() -> None:
        with op.stage("load") as stage:
            for _ in stage.track(rows):
                pass

    return work


def _tqdm(size: int) -> Callable[[], None]:
    rows = list(range(size))
    tqdm = import_module("tqdm").tqdm
    # Nowhere, but as to a terminal: the bar is drawn ten times a second.
    nowhere = Path("/dev/null").open("w")  # noqa: SIM115 - as long as the process

    def work() -> None:
        for _ in tqdm(rows, file=nowhere):
            pass

    return work


def _inc(size: int) -> Callable[[], None]:
    rows = list(range(size))
    counter = import_module("prometheus_client").Counter("records", "Records.")

    def work() -> None:
        for _ in rows:
            counter.inc()

    return work


def _handed_on(rows: Iterable[T]) -> Iterator[T]:
    for row in rows:  # noqa: UP028 - a body that sees each record, as a transform does
        yield row


def _stages(count: int, chunk: int = 1) -> Callable[[int], Callable[[], None]]:
    """Two generators in a row, ``count`` of them stages, that hand on ``chunk`` records at a time."""

    def prepare(size: int) -> Callable[[], None]:
        op.setup("bench", endpoint=child.ENDPOINT, queue_dir=f"{child.FOLDER}/queue")
        extract: Any = op.stage("extract")(_handed_on) if count > 1 else _handed_on
        transform: Any = op.stage("transform")(_handed_on)
        rows = [range(first, first + chunk) for first in range(0, size, chunk)]

        def work() -> None:
            with op.pipeline("orders"):
                for _ in transform(extract(rows)):
                    pass

        return work

    return prepare


SIDES = {
    "bare loop": _bare,
    "ours": _track,
    "tqdm": _tqdm,
    "prometheus_client inc()": _inc,
    "one stage": _stages(1),
    "two stages": _stages(2),
    "one stage, chunks": _stages(1, 1000),
    "two stages, chunks": _stages(2, 1000),
}

if __name__ == "__main__":
    child.resident(SIDES)
