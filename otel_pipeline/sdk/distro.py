"""What OpenTelemetry's launcher finds by entry points: our distro, our configurator, and a hook for beside others."""

from __future__ import annotations

from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from otel_pipeline.sdk import children
from otel_pipeline.sdk.instrumentations import REPLACED
from otel_pipeline.sdk.setup import current_handle, launch


class PipelineDistro(BaseDistro):  # type: ignore[misc]
    """Loads the instrumentations that are installed, but for those that we replace."""

    def _configure(self, **kwargs: Any) -> None:
        """Nothing: all is the configurator's."""

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """See BaseDistro."""
        handle = current_handle()
        wanted = handle is None or handle.settings.instrument
        # Where another configurator was chosen, what it has set is for their instrumentation of logging.
        replaced = entry_point.name in REPLACED and (handle is not None or children.is_one())
        if wanted and not replaced:
            super().load_instrumentor(entry_point, **kwargs)


class PipelineConfigurator:
    """Sets the process up by the environment."""

    def configure(self, **kwargs: Any) -> None:
        """See OpenTelemetry's ``_BaseConfigurator``."""
        launch()


def beside_others() -> None:
    """After all instrumentations: where another distro was chosen, join the providers that it has set."""
    if current_handle() is None:
        launch()
