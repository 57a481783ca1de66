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

from otel_pipeline.declaration import Expect, Slo
from otel_pipeline.errors import AlreadySetUpError, ExpectationError, PipelineTelemetryError, SettingError, UsageError
from otel_pipeline.instrument.decorate import pipeline, stage
from otel_pipeline.instrument.run import Run
from otel_pipeline.instrument.stage import Stage, current_run, current_stage
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from otel_pipeline.sdk.setup import Handle, setup

__all__ = [
    "AlreadySetUpError",
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
    "current_run",
    "current_stage",
    "pipeline",
    "setup",
    "stage",
]


def __getattr__(name: str) -> object:
    # The first use of setup() loads the SDK: a library may import us at the price of OpenTelemetry's API.
    if name in ("Handle", "setup"):
        module = import_module("otel_pipeline.sdk.setup")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
