"""What a script's ``setup()`` says after a launcher has set its process up: the script knows better, so it is taken."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_pipeline.sdk import logs, providers, sampler
from otel_pipeline.sdk.processor import print_summary, to_be_shown

if TYPE_CHECKING:
    from otel_pipeline.config import Settings
    from otel_pipeline.sdk.handle import Handle

_log = logging.getLogger("otel_pipeline")

# Where things go was settled when the providers were made, and the libraries are instrumented.
_TOO_LATE = {
    "endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "protocol": "OTEL_EXPORTER_OTLP_PROTOCOL",
    "queue_dir": "OTEL_PIPELINE_QUEUE_DIR",
    "instrument": "OTEL_PIPELINE_INSTRUMENT",
    "script_run": "OTEL_PIPELINE_SCRIPT_RUN",
}


def take(handle: Handle, settings: Settings) -> None:
    """Take over what the script has said by arguments; a later call is then the second one."""
    handle._launched = False
    told = {name: getattr(settings, name) for name, origin in settings.origins if origin == "argument"}
    for name in [name for name, value in told.items() if name in _TOO_LATE and value != getattr(handle.settings, name)]:
        value = told.pop(name)
        _log.warning(
            "otel_pipeline: setup(%s=%r) comes after the launcher's %r and is left out; set %s instead",
            name, value, getattr(handle.settings, name), _TOO_LATE[name],
        )  # fmt: skip
    origins = dict(handle.settings.origins) | dict.fromkeys(told, "argument")
    handle.settings = replace(handle.settings, **told, origins=tuple(origins.items()))
    if told and handle.tracer_provider is not None:
        _apply(handle, handle.settings)
    tell_parent(handle)


def tell_parent(handle: Handle) -> None:
    """Tell ``otel-pipeline run`` of which service the run is."""
    if handle._handover is not None:
        told = {key: getattr(handle.settings, key) for key in ("service_name", "version", "environment")}
        handle._handover.service(told)


def _apply(handle: Handle, settings: Settings) -> None:
    providers.rename(handle._own, settings)
    if settings.name is not None and handle._script is not None and not handle._script.taken:
        handle._script.name = settings.name
    if handle.tracer_provider is not None:
        sampler.install(handle.tracer_provider, settings.stage_span_limit)
    if handle._lifecycle is not None:
        handle._lifecycle.every(settings.heartbeat_interval)
    if not settings.logs:
        logs.release()
    if handle._processor is not None:
        shown = to_be_shown(settings.summary, under_parent=handle._handover is not None)
        handle._processor.summarise = print_summary if shown else None
