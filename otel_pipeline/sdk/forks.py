"""Metrics after a fork: a child begins at zero.

OpenTelemetry's SDK gives a forked child a new ``service.instance.id`` and leaves it the counts of its parent, so that
every sum over instances has them twice.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics._internal.metric_reader_storage import MetricReaderStorage

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider


def begin_at_zero(provider: MeterProvider) -> None:
    """From now on a forked child of this process counts on its own, with the start time of its first count."""
    if not hasattr(os, "register_at_fork"):
        return
    # At fork nothing else may keep a provider alive that was shut down and dropped.
    known = weakref.ref(provider)
    os.register_at_fork(after_in_child=lambda: _forget(known()))


def _forget(provider: Any) -> None:
    consumer = getattr(provider, "_measurement_consumer", None)
    storages = getattr(consumer, "_reader_storages", None)
    if consumer is None or storages is None:
        return  # another version of the SDK: its counts stay as it leaves them
    consumer._reader_storages = {
        reader: MetricReaderStorage(
            consumer._sdk_config, reader._instrument_class_temporality, reader._instrument_class_aggregation
        )
        for reader in storages
    }
