"""What a script's ``setup()`` says after a launcher has set its process up: the script knows better, so it is taken."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_pipeline import config
from otel_pipeline.instrument import measuring, registry
from otel_pipeline.sdk import logs, lost, progress, providers, sampler
from otel_pipeline.sdk.processor import print_summary, to_be_shown

if TYPE_CHECKING:
    from otel_pipeline.config import Settings
    from otel_pipeline.sdk.handle import Handle

_log = logging.getLogger("otel_pipeline")

# Where things go may be said as long as they go nowhere; the libraries are instrumented by now.
_WHERE = {
    "endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "protocol": "OTEL_EXPORTER_OTLP_PROTOCOL",
    "queue_dir": "OTEL_PIPELINE_QUEUE_DIR",
}
_TOO_LATE = {
    "instrument": "OTEL_PIPELINE_INSTRUMENT",
    "script_run": "OTEL_PIPELINE_SCRIPT_RUN",
}


def take(handle: Handle, settings: Settings) -> None:
    """Take over what the script has said by arguments; a later call is then the second one."""
    handle._launched = False
    told = {name: getattr(settings, name) for name, origin in settings.origins if origin == "argument"}
    too_late = _TOO_LATE if handle.sender is None else _TOO_LATE | _WHERE
    for name in [name for name, value in told.items() if name in too_late and value != getattr(handle.settings, name)]:
        value = told.pop(name)
        _log.warning(
            "otel_pipeline: setup(%s=%r) comes after the launcher's %r and is left out; set %s instead",
            name, value, getattr(handle.settings, name), too_late[name],
        )  # fmt: skip
    origins = dict(handle.settings.origins) | dict.fromkeys(told, "argument")
    handle.settings = replace(handle.settings, **told, origins=tuple(origins.items()))
    if told and handle.tracer_provider is not None:
        _apply(handle, handle.settings)
    tell_parent(handle)


def tell_parent(handle: Handle) -> None:
    """Tell ``otel-pipeline run`` of which service the run is, and where its span is to go."""
    if handle._handover is not None:
        told = {key: getattr(handle.settings, key) for key in ("service_name", "version", "environment")}
        said = {name for name, origin in handle.settings.origins if origin == "argument"}
        where = {key: getattr(handle.settings, key) for key in _WHERE if key in said}
        handle._handover.service(told | where)


def _apply(handle: Handle, settings: Settings) -> None:
    providers.rename(handle._own, settings)
    if handle.sender is None:
        _send(handle, settings)
    if settings.name is not None and handle._script is not None and not handle._script.taken:
        handle._script.name = settings.name
    if handle.tracer_provider is not None:
        sampler.install(handle.tracer_provider, settings.stage_span_limit)
    registry.keep_values(settings.record_values)
    if handle._lifecycle is not None:
        handle._lifecycle.every(settings.heartbeat_interval)
    if not settings.logs:
        logs.release()
    registry.judge(strict=config.strict(settings), count=measuring.rejected)
    if handle._processor is not None:
        shown = to_be_shown(settings.summary, under_parent=handle._handover is not None)
        handle._processor.summarise = print_summary if shown else None
    progress.follow(handle)


def _send(handle: Handle, settings: Settings) -> None:
    """The script has said where to, which the launcher did not know."""
    handle._sender = sender = providers.send(handle._own, settings)
    if sender is None or handle._processor is None or handle._lifecycle is None or handle.tracer_provider is None:
        return
    open_runs = lost.watch(sender.queue, sender, handle.tracer_provider.resource, handle._processor.count)
    handle._processor.note(open_runs)
    handle._lifecycle.note(open_runs)
    if settings.logs and handle.logger_provider is not None and handle.logger_provider in handle._own:
        logs.capture(handle.logger_provider)
    if handle._script is not None and not handle._script.taken:
        handle._lifecycle.run_started(handle._script)
    sender.start()
