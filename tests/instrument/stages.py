"""The stages that several tests use: extract → transform → load."""

from collections.abc import Iterator
from typing import Any

import otel_pipeline as op


@op.stage
def extract(rows: Any = (1, 2, 3)) -> Iterator[Any]:
    """A source."""
    yield from rows


@op.stage
def transform(rows: Any) -> Iterator[Any]:
    """Hands on what it pulls."""
    for row in rows:  # noqa: UP028 - a loop of its own, as transforms have
        yield row


@op.stage
def load(rows: Any) -> int:
    """A sink: how many came."""
    return sum(1 for _ in rows)


@op.pipeline("p")
def etl() -> int:
    """All of them, as one pipeline."""
    return load(transform(extract()))
