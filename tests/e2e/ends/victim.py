"""Forks processes with telemetry and kills them: ``python victim.py``, an `Order` as a line of JSON in, a `Death` out.

::

    order ─► fork ─► child: setup(), then stage after stage ──pipe──► "b" before a stage's end, "a" when it has returned
                                    ▲                                    │
                                    └───────────── SIGKILL ◄─────────────┘ at the announcement that was ordered

This process has loaded everything and set nothing up, so a child costs milliseconds. What the pipe holds when the child
is dead is the truth: it was written after the call that ended the stage had returned.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

MESSAGE = 33  # a letter, a span id and a time in nanoseconds since the epoch, both in hexadecimal


@dataclass(frozen=True)
class Order:
    """How one child lives and dies.

    It sends to `url` and queues in `queue`; between stages it sleeps up to `pause` seconds; with `flush` it has its
    telemetry sent every few stages. It is killed `delay` seconds after the announcement `letter` number `number`.
    """

    queue: str
    url: str
    seed: int
    letter: str
    number: int
    delay: float
    pause: float = 0.0
    flush: bool = False


@dataclass(frozen=True)
class Death:
    """What was seen of one child: stages whose end was `begun`, and had `returned`, by span id.

    Times are in seconds before the kill, and None when there was none: `since_append` of when the last end that
    returned had begun, so that its append was later; `since_write` of the last write to its queue, by the file's time,
    which many systems keep to 4 ms. `signal` ended it, 0 when it ended by itself.
    """

    begun: tuple[str, ...]
    returned: tuple[str, ...]
    since_append: float | None
    since_write: float | None
    signal: int


def live(order: Order, pipe: int) -> NoReturn:
    """The child: stages until it is killed."""
    from opentelemetry.trace import get_current_span

    import otel_pipeline as op

    chance = random.Random(order.seed)
    handle = op.setup("victims", endpoint=order.url, queue_dir=order.queue, script_run=False)
    with op.pipeline("victim"):
        number = 0
        while True:
            number += 1
            stage = op.stage("append")
            stage.__enter__()
            span_id = f"{get_current_span().get_span_context().span_id:016x}".encode()
            os.write(pipe, b"b%s%016x" % (span_id, time.time_ns()))
            stage.__exit__(None, None, None)
            os.write(pipe, b"a%s%016x" % (span_id, time.time_ns()))
            if order.flush and number % 5 == 0:
                handle.flush(10)
            if order.pause:
                time.sleep(chance.random() * order.pause)


def kill_one(order: Order) -> Death:
    """Fork a child, and kill it where it was ordered."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            live(order, writing)
        finally:
            os._exit(1)
    os.close(writing)
    data = _read_until(reading, order)
    os.kill(child, signal.SIGKILL)
    killed = time.time_ns()
    _, status = os.waitpid(child, 0)
    while part := os.read(reading, 1 << 16):
        data += part
    os.close(reading)
    messages = [data[at : at + MESSAGE].decode() for at in range(0, len(data) - MESSAGE + 1, MESSAGE)]
    files = [path.stat().st_mtime_ns for path in Path(order.queue).glob(f"*-{child}-*.q")]
    begun = {each[1:17]: int(each[17:], 16) for each in messages if each[0] == "b"}
    returned = tuple(each[1:17] for each in messages if each[0] == "a")
    return Death(
        begun=tuple(begun),
        returned=returned,
        since_append=(killed - begun[returned[-1]]) / 1e9 if returned else None,
        since_write=(killed - max(files)) / 1e9 if files else None,
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
    )


def _read_until(pipe: int, order: Order) -> bytes:
    """Read until the moment to kill, or until the child ends; with a delay, go on reading meanwhile."""
    data, wanted = b"", order.letter.encode()
    while [data[at : at + 1] for at in range(0, len(data), MESSAGE)].count(wanted) < order.number:
        if not (part := os.read(pipe, 1 << 16)):
            return data
        data += part
    end = time.monotonic() + order.delay
    while (left := end - time.monotonic()) > 0:
        if left < 0.001:
            continue  # nearer than a wait can tell
        if select.select([pipe], [], [], left - 0.0005)[0]:
            data += os.read(pipe, 1 << 16)
    return data


def main() -> None:
    """Carry out orders until there are no more."""
    import http.client

    import otel_pipeline.queue.transport_http
    import otel_pipeline.sdk.setup

    loaded = (http.client, otel_pipeline.queue.transport_http, otel_pipeline.sdk.setup)
    assert all(loaded)
    for line in sys.stdin:
        print(json.dumps(asdict(kill_one(Order(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
