"""`recorded()`: what counters, gauges and histograms were told in a test, and calls that cannot be used."""

from __future__ import annotations

import pytest

import otel_pipeline as op
from otel_pipeline.testing import recorded

orders = op.counter("recorded.orders")


def test_values_are_those_of_this_block_alone() -> None:
    """A counter of a module counts in each block anew, whatever was counted before and outside."""
    orders.add(100, shop="a")
    for _ in range(2):
        with recorded() as pipelines:
            orders.add(2, shop="a")
            orders.add(3, shop="b")
            op.gauge("recorded.open").set(7)
            with op.database("insert", "orders") as insert:
                insert.rows(10)
            assert pipelines.value("recorded.orders", shop="a") == 2
            assert pipelines.value("recorded.orders") == 5
        assert pipelines.value("recorded.open") == 7
        assert pipelines.value("pipeline.database.duration", db_collection_name="orders") == 1


def test_a_value_that_is_not_there() -> None:
    """The failure says what there was."""
    with recorded() as pipelines:
        orders.add(2, shop="a")
        with pytest.raises(AssertionError, match=r"no recorded.order with .*there was:\nrecorded.orders.*'a'.* = 2"):
            pipelines.value("recorded.order", shop="a")


def test_misuse_raises_unless_told_otherwise() -> None:
    """A test is development."""
    with recorded(), pytest.raises(op.UsageError, match=r"recorded\.orders=-1 was left out"):
        orders.add(-1)
    with recorded(strict=False) as pipelines:
        orders.add(-1)
        assert pipelines.value("pipeline.telemetry.rejected") == 1
