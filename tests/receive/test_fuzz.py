"""A fixed budget of hostile requests; `python -m tests.soak fuzz` has a larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otel_pipeline.receive.bounds import Limits
from otel_pipeline.store.store import Store

from .fuzz import Fuzz
from .running import receiving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seed", [1, 2])
def test_no_request_makes_the_receivers_fail(tmp_path: Path, seed: int) -> None:
    """Every answer is one of OTLP's; good requests in between are taken; no memory is kept."""
    with receiving(Store(tmp_path / "store.db"), Limits(request_bytes=50_000)) as receiver:
        fuzz = Fuzz(receiver, seed)
        fuzz.run(300)
        assert (fuzz.found, receiver.said, receiver.in_flight.bytes) == ([], [], 0)
