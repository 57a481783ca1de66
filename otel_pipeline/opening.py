"""The store as the settings say, which counts the catalogue's rows and those of the config file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_pipeline import config
from otel_pipeline.kpi.engine import Engine
from otel_pipeline.kpi.own import rows_of
from otel_pipeline.semconv.catalogue import CATALOGUE
from otel_pipeline.store.store import Store

if TYPE_CHECKING:
    from otel_pipeline.config import Settings


def opened(settings: Settings) -> Store:
    """The store. Raises StoreError, and SettingError for rows of the file that cannot be used."""
    told = config.kpis()
    own = () if told is None else rows_of(told[1], told[0])
    return Store(config.store_place(settings), engine=Engine((*CATALOGUE, *own)), sync=settings.store_sync)
