"""Both places for a store: a file, and a database of a real PostgreSQL."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from otel_pipeline.store.store import Store
from tests.postgresql import postgresql  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Path | str]:
    """Makes places that nothing is in."""
    if request.param == "postgresql":
        made: Callable[[], str] = request.getfixturevalue("postgresql").new_database
        return made
    numbers = iter(range(10**6))
    return lambda: tmp_path / str(next(numbers)) / "store.db"


@pytest.fixture
def place(new_place: Callable[[], Path | str]) -> Path | str:
    """A place that nothing is in."""
    return new_place()


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    """An empty store."""
    with contextlib.closing(Store(place)) as made:
        yield made
