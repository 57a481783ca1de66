"""Which settings there are and where from; which of OpenTelemetry's variables are set, and what they do here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from otel_pipeline import config
from otel_pipeline.doctor.rows import Row
from otel_pipeline.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_pipeline.doctor.rows import Situation, State


def values(situation: Situation) -> Iterator[Row]:
    """Each setting with its value and origin; then what cannot be used, and what is misspelt."""
    places = config.places(situation.settings, situation.variables)
    for name, value in situation.settings.values().items():
        shown = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        yield Row(name, shown, places[name])
    for problem in situation.problems:
        yield Row("cannot be used", problem.removeprefix("otel_pipeline: "), state="wrong", todo="correct or remove it")
    for line in config.unknown_variables(situation.variables):
        problem = line.removeprefix("otel_pipeline: ")
        yield Row("misspelt", problem, "environment", "wrong", todo="correct or remove it")


class _Variable(NamedTuple):
    """One of OpenTelemetry's variables, or several by a pattern: what it does here, and for which values it is told."""

    pattern: str
    meaning: str
    state: State = "fine"
    values: str = ".*"


_VARIABLES = (
    _Variable("OTEL_SDK_DISABLED", "everything is off", "note", "true"),
    _Variable(config.TESTS, "everything is off, as in tests", "note", "off"),
    _Variable("OTEL_(TRACES|METRICS|LOGS)_EXPORTER", "nothing of this is sent", "note", "none"),
    _Variable("OTEL_(TRACES|METRICS|LOGS)_EXPORTER", "where this goes"),
    _Variable("OTEL_EXPORTER_OTLP_(TRACES|METRICS|LOGS)_ENDPOINT", "where this goes; the path is not completed"),
    _Variable(
        "OTEL_EXPORTER_OTLP_(ENDPOINT|PROTOCOL|HEADERS|TIMEOUT|COMPRESSION|CERTIFICATE|CLIENT_CERTIFICATE|CLIENT_KEY)",
        "how OTLP is sent",
    ),
    _Variable("OTEL_EXPORTER_OTLP_.*", "not read by otel_pipeline", "note"),
    _Variable("OTEL_RESOURCE_ATTRIBUTES|OTEL_SERVICE_NAME", "what is said of who sends"),
    _Variable("OTEL_TRACES_SAMPLER(_ARG)?", "for other spans; runs and stages are always recorded"),
    _Variable("OTEL_METRIC_EXPORT_(INTERVAL|TIMEOUT)", "how often metrics are collected"),
    _Variable("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "instrumentations that are not loaded"),
    _Variable("OTEL_PYTHON_(DISTRO|CONFIGURATOR)", "who sets a launched process up"),
    _Variable("OTEL_CONFIG_FILE|OTEL_EXPERIMENTAL_CONFIG_FILE", "not read by otel_pipeline", "note"),
    _Variable("OTEL_.*", ""),
    _Variable("(?i:HTTPS?_PROXY|NO_PROXY|ALL_PROXY)", "how the endpoint is reached"),
    _Variable("TRACEPARENT|TRACESTATE", "the trace that a process continues"),
)
"""The first row that fits a variable counts. Those of our own settings are told there."""


def variables(situation: Situation) -> Iterator[Row]:
    """Those that are set."""
    for name, value in sorted(situation.variables.items()):
        if (name.startswith(PREFIX) and name != config.TESTS) or not value:
            continue
        for row in _VARIABLES:
            if re.fullmatch(row.pattern, name) and re.fullmatch(row.values, value.strip().lower()):
                shown = f"{value}  ({row.meaning})" if row.meaning else value
                yield Row(name, _without_headers(name, shown), "environment", row.state)
                break


def _without_headers(name: str, value: str) -> str:
    """Headers are for credentials: their names alone are shown."""
    if not name.endswith("_HEADERS"):
        return value
    return re.sub(r"=[^,]*?(?=,|  \(|$)", "=***", value)
