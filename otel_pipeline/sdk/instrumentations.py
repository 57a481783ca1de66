"""OpenTelemetry's instrumentations of libraries, for ``setup()``: the installed ones, as the launcher loads them.

``importlib.metadata`` knows them, and takes a tenth of ``setup()`` to load and to ask. So where no file could name one,
it is not asked.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.machinery import PathFinder
from typing import Any

from otel_pipeline import config

_log = logging.getLogger("otel_pipeline")

_GROUP = "opentelemetry_instrumentor"

# Ours listens elsewhere (logs.py says why); theirs would send every record twice.
REPLACED = ("logging",)


def load() -> None:
    """Load each that ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` does not name and whose library is there."""
    disabled = config.disabled_instrumentations()
    if "*" in disabled or not may_be_installed(sys.path):
        return
    from opentelemetry.util._importlib_metadata import entry_points  # noqa: PLC0415 - see the module

    for entry in entry_points(group=_GROUP):
        if entry.name not in disabled and entry.name not in REPLACED:
            _load(entry)


def may_be_installed(places: list[str]) -> bool:
    """Whether a distribution in ``places`` names an instrumentation, or may do so where only its finder can look."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    return any(_names_one(place) for place in places)


def _names_one(place: str) -> bool:
    try:
        names = os.listdir(place or ".")  # noqa: PTH208 - of many names a few are of interest
    except NotADirectoryError:
        return True  # an archive
    except OSError:
        return False
    for name in names:
        if name.lower().endswith((".dist-info", "egg-info")):
            try:
                with open(os.path.join(place, name, "entry_points.txt"), "rb") as file:  # noqa: PTH118, PTH123 - as above
                    if _GROUP.encode() in file.read():
                        return True
            except OSError:  # it has none, as most
                continue
    return False


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
