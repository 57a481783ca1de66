"""Many SIGKILLs at chosen moments, and what they cost: `kill_many` orders, `victim.py` kills, `Killed` adds up.

Half of the children append as fast as they can and are killed in the middle of it; a quarter pause between stages; a
quarter are sending, before a receiver that takes everything, when they are killed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import SIGKILL

from ..faults import FaultyEndpoint, refusing_address
from .arrived import in_queue, left_over, spans
from .play import drain
from .victim import Death, Order

VICTIM = Path(__file__).with_name("victim.py")
AT_ONCE = 3
PER_FOLDER = 25
NEAR = 0.005
STAGE = "stage append"


@dataclass
class Killed:
    """What came of `kills` children: `problems` in words, and the figures.

    `since_append` and `since_write` in seconds, as in `Death`; `stages` had returned; of `files` that were left,
    `torn_files` ended in an unfinished write; `repeated` spans came more than once, which a kill between a request and
    its note makes unavoidable; `unannounced` are on disk though the call had not returned yet.
    """

    kills: int = 0
    problems: list[str] = field(default_factory=list)
    since_append: list[float] = field(default_factory=list)
    since_write: list[float] = field(default_factory=list)
    stages: int = 0
    files: int = 0
    torn_files: int = 0
    repeated: int = 0
    unannounced: int = 0

    def near(self, delays: list[float]) -> float:
        """The share of kills within 5 ms."""
        return sum(abs(each) <= NEAR for each in delays) / self.kills if self.kills else 0.0

    def add(self, other: Killed) -> None:
        """Add another batch."""
        self.problems += other.problems
        self.since_append += other.since_append
        self.since_write += other.since_write
        for name in ("kills", "stages", "files", "torn_files", "repeated", "unannounced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def kill_many(count: int, folder: Path, *, seed: int = 0) -> Killed:
    """Kill `count` children, whose queues lie in folders below `folder`, and deliver what they left."""
    batches = [(at, min(PER_FOLDER, count - at)) for at in range(0, count, PER_FOLDER)]
    total = Killed()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        futures = [threads.submit(_kill_batch, folder / str(at), size, seed + at) for at, size in batches]
        for future in futures:
            total.add(future.result())
    return total


def _kill_batch(folder: Path, size: int, seed: int) -> Killed:
    folder.mkdir(parents=True)
    # In folders of their own: those that send would deliver what the others left.
    kept, sent = folder / "kept", folder / "sent"
    with _Endpoint() as endpoint, refusing_address() as refusing:
        chance = random.Random(seed)
        orders = [_order(number, kept, sent, f"http://{refusing}", endpoint.url, chance) for number in range(size)]
        deaths = _carry_out(orders, folder / "output")
        killed = Killed(kills=len(deaths))
        for queue in (kept, sent):
            own = [death for order, death in zip(orders, deaths, strict=True) if order.queue == str(queue)]
            _count(killed, queue, endpoint, own)
        return killed


def _order(  # noqa: PLR0917 - what an order is made of
    number: int, kept: Path, sent: Path, refusing: str, taking: str, chance: random.Random
) -> Order:
    seed = chance.getrandbits(32)
    if number % 4 == 3:
        # A flush follows each fifth stage: the kill comes into the request, the answer or the note of it.
        stages, delay = 5 * chance.randint(1, 4), chance.random() * 0.004
        return Order(str(sent), taking, seed, "a", stages, delay, flush=True)
    if number % 4 == 2:
        return Order(str(kept), refusing, seed, "a", chance.randint(1, 12), chance.random() * 0.02, pause=0.03)
    return Order(str(kept), refusing, seed, chance.choice("ab"), chance.randint(1, 60), chance.random() * 0.0002)


class _Endpoint(FaultyEndpoint):
    """Says nothing when a sender vanishes in the middle of a request, which is the point here."""

    def __init__(self) -> None:
        super().__init__()
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]


def _carry_out(orders: list[Order], log: Path) -> list[Death]:
    lines = "".join(json.dumps(asdict(order)) + "\n" for order in orders)
    with log.open("wb") as errors:
        ended = subprocess.run(
            [sys.executable, str(VICTIM)], input=lines.encode(), stdout=subprocess.PIPE, stderr=errors, check=False
        )
    if ended.returncode:
        raise AssertionError(f"victim.py ended with {ended.returncode}\n{log.read_text(errors='replace')[-2000:]}")
    return [Death(**json.loads(line)) for line in ended.stdout.splitlines()]


def _count(killed: Killed, queue: Path, endpoint: FaultyEndpoint, deaths: list[Death]) -> None:
    killed.since_append += [death.since_append for death in deaths if death.since_append is not None]
    killed.since_write += [death.since_write for death in deaths if death.since_write is not None]
    returned = {span_id for death in deaths for span_id in death.returned}
    begun = {span_id for death in deaths for span_id in death.begun}
    killed.stages += len(returned)
    if alive := [death for death in deaths if death.signal != SIGKILL]:
        killed.problems.append(f"{len(alive)} children were not killed: they ended before")
    held = in_queue(queue)
    killed.files += len(held)
    killed.torn_files += sum(each.torn_bytes > 0 for each in held)
    for each in held:
        if not each.readable:
            killed.problems.append(f"{each.path.name} is damaged: {each.corrupt_bytes} bytes")
    queued = {span_id for each in held for span_id, name in each.spans if name == STAGE}
    found = queued | (_times(endpoint).keys() & begun)
    if lost := returned - found:
        killed.problems.append(f"lost {len(lost)} stages that had ended")
    if strangers := queued - begun:
        killed.problems.append(f"{len(strangers)} spans of stages that had not come to their end")
    killed.unannounced += len(found - returned)
    killed.problems += drain(queue, endpoint.url)
    times = _times(endpoint)
    if lost := returned - times.keys():
        killed.problems.append(f"{len(lost)} stages that had ended were not delivered")
    if names := left_over(queue):
        killed.problems.append(f"left in the queue's folder: {names}")
    killed.repeated += sum(times[span_id] > 1 for span_id in begun)


def _times(endpoint: FaultyEndpoint) -> Counter[str]:
    """How often each stage's span was taken."""
    return Counter(span_id for span_id, name in spans(endpoint.taken("/v1/traces")) if name == STAGE)
