"""generators.md, line 8: threads, tee and prefetch."""

import itertools
import queue
import threading
from typing import Any

from opentelemetry import context as context_api

import otel_pipeline as op
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
