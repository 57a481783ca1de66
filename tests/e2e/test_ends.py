"""Whatever ends a process, and whatever its Collector does: what had ended arrives once, and nothing else changes.

The part of the matrix for every day; all of it is `python -m tests.soak ends`. The cases are played eight at a time,
since most of them wait most of the time.
"""

from __future__ import annotations

import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from .ends.matrix import PART, known
from .ends.play import Backends, Outcome, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .clients import Jaeger, Prometheus
    from .ends.matrix import Case
    from .servers import Program, Server

AT_ONCE = 8
Played = dict[str, Future[Outcome]]


@pytest.fixture(scope="session")
def played(  # noqa: PLR0917 - fixtures
    request: pytest.FixtureRequest,
    gateway: Server,
    jaeger: Jaeger,
    prometheus: Prometheus,
    stores: dict[str, str],
    launch: Callable[[Program, Mapping[str, str]], Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Played]:
    """The outcomes of the cases that were selected, as they come."""
    backends = Backends(gateway, jaeger, prometheus, stores, launch)
    selected = {item.callspec.id for item in request.session.items if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("ends")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        futures: Played = {}
        for number, case in enumerate(PART):
            if str(case) in selected:
                service = f"service-{uuid.uuid4().hex[:12]}"
                futures[str(case)] = threads.submit(play, case, backends, folder / str(number), service)
        yield futures
        for future in futures.values():
            future.cancel()


def parameters() -> list[object]:
    """The cases, with those that are known to fail marked."""
    return [
        pytest.param(
            case, id=str(case), marks=[pytest.mark.xfail(strict=True, reason=reason)] if (reason := known(case)) else []
        )
        for case in PART
    ]


@pytest.mark.parametrize("case", parameters())
def test_everything_that_ended_arrives_once(case: Case, played: Played) -> None:
    """The status is the program's own; arrived and queued is what has ended; after a drain all has arrived, once."""
    outcome = played[str(case)].result()
    assert not outcome.problems, "\n".join(outcome.problems)
