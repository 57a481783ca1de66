"""Which versions are installed, and which of OpenTelemetry's instrumentations load here or do not, and why."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from otel_pipeline import config
from otel_pipeline.doctor.rows import Row
from otel_pipeline.sdk.instrumentations import REPLACED
from otel_pipeline.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.doctor.rows import Situation

_PACKAGES = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-instrumentation")
_EXTRAS = {
    "grpc": ("grpc", "OTLP over gRPC"),
    "server": ("cronsim", "sqlalchemy", "starlette", "uvicorn", "`otel-pipeline runs`, `show`, `stats`, `serve`"),
}
"""The extras: what each needs, and what it is for."""
_CHOSEN = {"opentelemetry_distro": "OTEL_PYTHON_DISTRO", "opentelemetry_configurator": "OTEL_PYTHON_CONFIGURATOR"}


def versions(situation: Situation) -> Iterator[Row]:
    """Of this package, Python and OpenTelemetry's; and which extras are there."""
    del situation
    yield Row("otel_pipeline", __version__)
    yield Row("Python", f"{platform.python_version()} ({platform.system()})", sys.executable)
    for name in _PACKAGES:
        try:
            yield Row(name, version(name))
        except PackageNotFoundError:
            yield Row(name, "is not installed", state="wrong", todo=f"pip install {name}")
    for extra, (*modules, purpose) in _EXTRAS.items():
        if missing := [name for name in modules if find_spec(name) is None]:
            told = f"without {', '.join(missing)}: {purpose} need it (pip install 'otel-pipeline[{extra}]')"
            yield Row(f"extra {extra}", told, state="note")
        else:
            yield Row(f"extra {extra}", "is there")


def instrumentations(situation: Situation) -> Iterator[Row]:
    """Those that are installed, and who sets a launched process up where several packages could."""
    found = {entry.name: entry for entry in entry_points(group="opentelemetry_instrumentor")}
    if not found:
        yield Row("none", "libraries have no spans of their own; there are opentelemetry-instrumentation-… for many")
    for name, entry in sorted(found.items()):
        yield _instrumentation(situation, name, entry)
    for group, variable in _CHOSEN.items():
        others = sorted({entry.name for entry in entry_points(group=group)} - {"otel_pipeline"})
        if others and not situation.variables.get(variable):
            told = f"{', '.join(others)} beside otel_pipeline: under opentelemetry-instrument one of them is taken"
            yield Row(
                group, told, state="note", todo=f"set {variable}=otel_pipeline, if you use opentelemetry-instrument"
            )


def _instrumentation(situation: Situation, name: str, entry: Any) -> Row:
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts  # noqa: PLC0415 - as needed

    disabled = config.disabled_instrumentations(situation.variables)
    installed = entry.dist.version if entry.dist is not None else ""
    if name in REPLACED:
        return Row(name, "replaced by otel_pipeline's own", installed)
    if not situation.settings.instrument:
        return Row(name, "not loaded: the setting instrument is false", installed)
    if "*" in disabled or name in disabled:
        return Row(name, "not loaded: named in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", installed)
    if entry.dist is not None and (conflict := get_dist_dependency_conflicts(entry.dist)):
        if conflict.found is None:
            return Row(name, f"not loaded: {conflict.required} is not installed", installed)
        told = f"conflicts: it wants {conflict.required}, there is {conflict.found}"
        return Row(name, told, installed, "wrong", f"pip install '{conflict.required}', or another version of it")
    try:
        entry.load()
    except Exception as error:  # noqa: BLE001 - an import of somebody else's may raise anything
        return Row(name, f"cannot be loaded: {type(error).__name__}: {error}", installed, "wrong", "reinstall it")
    return Row(name, "loaded by setup()", installed)
