"""OpenTelemetry's instrumentations of libraries, for ``setup()``: the installed ones, as the launcher loads them."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry.util._importlib_metadata import entry_points

from otel_pipeline import config

_log = logging.getLogger("otel_pipeline")

# Ours listens elsewhere (logs.py says why); theirs would send every record twice.
REPLACED = ("logging",)


def load() -> None:
    """Load each that ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` does not name and whose library is there."""
    disabled = config.disabled_instrumentations()
    for entry in entry_points(group="opentelemetry_instrumentor"):
        if "*" not in disabled and entry.name not in disabled and entry.name not in REPLACED:
            _load(entry)


def _load(entry: Any) -> None:
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts  # noqa: PLC0415 - as needed

    try:
        if entry.dist is not None and get_dist_dependency_conflicts(entry.dist):
            return
        instrumentor = entry.load()()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True)
    except ModuleNotFoundError:
        return
    except Exception as error:  # noqa: BLE001 - an instrumentation that fails costs its spans, not the program
        _log.warning("otel_pipeline: instrumentation %s cannot be loaded: %s", entry.name, error)
