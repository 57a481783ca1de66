"""The examples in docstrings work."""

from __future__ import annotations

import doctest

import pytest

from otel_pipeline import history, testing
from otel_pipeline.kpi import exposition, memory, statistics, times


@pytest.mark.parametrize("module", [exposition, history, memory, statistics, testing, times], ids=lambda m: m.__name__)
def test_examples(module: object) -> None:
    """Each gives what is written below it."""
    found = doctest.testmod(module)  # type: ignore[arg-type]  # they are modules
    assert found.attempted > 0
    assert found.failed == 0
