"""Data pipelines seen through OpenTelemetry: runs, stages, records, exactly counted.

>>> import otel_pipeline as op
>>> @op.stage
... def extract():
...     yield from (1, 2, 3)
>>> with op.pipeline("numbers"):
...     total = sum(extract())
>>> total
6
"""

from importlib import import_module
from typing import TYPE_CHECKING

from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from otel_pipeline.declaration import Expect, Slo
    from otel_pipeline.errors import (
        AlreadySetUpError,
        ExpectationError,
        PipelineTelemetryError,
        SettingError,
        UsageError,
    )
    from otel_pipeline.instrument.business import collector, counter, gauge, histogram
    from otel_pipeline.instrument.crawl import Crawl, crawl, current_crawl, queue_length
    from otel_pipeline.instrument.decorate import pipeline, stage
    from otel_pipeline.instrument.operations import cache, database, search, timed
    from otel_pipeline.instrument.quality import check
    from otel_pipeline.instrument.run import Run
    from otel_pipeline.instrument.stage import Stage, current_run, current_stage
    from otel_pipeline.sdk.setup import Handle, setup

__all__ = [
    "AlreadySetUpError",
    "Crawl",
    "Expect",
    "ExpectationError",
    "Handle",
    "PipelineTelemetryError",
    "Run",
    "SettingError",
    "Slo",
    "Stage",
    "UsageError",
    "__version__",
    "cache",
    "check",
    "collector",
    "counter",
    "crawl",
    "current_crawl",
    "current_run",
    "current_stage",
    "database",
    "gauge",
    "histogram",
    "pipeline",
    "queue_length",
    "search",
    "setup",
    "stage",
    "timed",
]

# Loaded at its first use: a library may import us at the price of OpenTelemetry's API, and pytest, which imports our
# plugin wherever the package is installed, at no price.
_ROOMS = {
    "declaration": ("Expect", "Slo"),
    "errors": ("AlreadySetUpError", "ExpectationError", "PipelineTelemetryError", "SettingError", "UsageError"),
    "instrument.business": ("collector", "counter", "gauge", "histogram"),
    "instrument.crawl": ("Crawl", "crawl", "current_crawl", "queue_length"),
    "instrument.decorate": ("pipeline", "stage"),
    "instrument.operations": ("cache", "database", "search", "timed"),
    "instrument.quality": ("check",),
    "instrument.run": ("Run",),
    "instrument.stage": ("Stage", "current_run", "current_stage"),
    "sdk.setup": ("Handle", "setup"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if (room := _ROOM_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
