"""generators.md, line 8: threads, tasks in threads, tee and prefetch."""

import asyncio
import itertools
import queue
import threading
from typing import Any

from opentelemetry import context as context_api

import otel_pipeline as op
from otel_pipeline.instrument import registry
from tests.instrument.seen import Clock, Seen
from tests.instrument.stages import extract


def test_8_threads_have_frames_of_their_own(seen: Seen, clock: Clock) -> None:
    """A stage on another thread covers nothing of the run; both are busy at once, so the sum may exceed wall."""

    def work(context: Any) -> None:
        context_api.attach(context)
        with op.stage("elsewhere"):
            clock.spend(50)

    with op.pipeline("p"):
        thread = threading.Thread(target=work, args=(context_api.get_current(),))
        thread.start()
        thread.join()
    assert seen.parent("stage elsewhere") == "run p"
    assert seen.self_times() == {"run p": 50, "stage elsewhere": 50}


def test_8_tee_counts_each_record_once(seen: Seen) -> None:
    """itertools.tee pulls once per record, charged to whoever pulled first; both branches are complete."""
    with op.pipeline("p"):
        left, right = itertools.tee(extract())
        with op.stage("left") as one:
            assert list(left) == [1, 2, 3]
        with op.stage("right") as two:
            assert list(right) == [1, 2, 3]
    assert seen.stage("extract")["pipeline.records.out"] == 3
    assert (one.records, two.records) == ({"in": 3}, {})


def test_8_prefetch_in_a_thread_has_no_edge_across_the_queue(seen: Seen) -> None:
    """What goes through a queue is not pulled from the stage: no edge, no in; the stage's out is right."""
    buffer: queue.Queue[Any] = queue.Queue(maxsize=1)

    def fill(rows: Any) -> None:
        for row in rows:
            buffer.put(row)
        buffer.put(None)

    with op.pipeline("p"):
        thread = threading.Thread(target=fill, args=(extract(range(1, 100)),))
        thread.start()
        with op.stage("sink"):
            assert sum(iter(buffer.get, None)) == sum(range(100))
        thread.join()
    assert "pipeline.stage.upstream" not in seen.stage("sink")
    assert "pipeline.records.in" not in seen.stage("sink")
    assert seen.stage("extract")["pipeline.records.out"] == 99
    assert seen.parent("stage extract") == "run p"


def test_8_one_stage_object_in_many_tasks_and_threads(seen: Seen) -> None:
    """`with` on one object in interleaving tasks and threads ends the right scope each time."""
    shared = op.stage("shared")

    async def one(number: int) -> None:
        async with shared as scope:
            scope.add(records_in=number)
            for _ in range(number % 3):
                await asyncio.sleep(0)
            assert op.current_stage() is scope

    async def main() -> None:
        with op.pipeline("p"):
            await asyncio.gather(*(one(number) for number in range(20)))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stages = seen.all("stage shared")
    assert len(stages) == 80
    assert sum((span.attributes or {})["pipeline.records.in"] for span in stages) == 4 * sum(range(20))  # type: ignore[misc]
    assert len(seen.all("run p")) == 4
    assert registry.open_runs() == []
