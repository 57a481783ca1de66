"""The exporters of the three signals, by OpenTelemetry's names for them.

``otlp`` is the one of the chosen protocol; every other name is looked up among OpenTelemetry's entry points, as its own
configurator does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry.util._importlib_metadata import entry_points

from otel_pipeline import config
from otel_pipeline.errors import SettingError

if TYPE_CHECKING:
    from otel_pipeline.config import Settings

_OTLP = {
    ("traces", "http/protobuf"): ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter"),
    ("metrics", "http/protobuf"): ("opentelemetry.exporter.otlp.proto.http.metric_exporter", "OTLPMetricExporter"),
    ("logs", "http/protobuf"): ("opentelemetry.exporter.otlp.proto.http._log_exporter", "OTLPLogExporter"),
    ("traces", "grpc"): ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "OTLPSpanExporter"),
    ("metrics", "grpc"): ("opentelemetry.exporter.otlp.proto.grpc.metric_exporter", "OTLPMetricExporter"),
    ("logs", "grpc"): ("opentelemetry.exporter.otlp.proto.grpc._log_exporter", "OTLPLogExporter"),
}


def exporters(signal: str, settings: Settings) -> list[Any]:
    """New exporters for ``signal`` (traces, metrics, logs); none where nothing is to be sent.

    Raises SettingError for a name that nothing provides, or a protocol whose package is missing.
    """
    return [_exporter(signal, name, settings) for name in config.exporter_names(signal, settings)]


def _exporter(signal: str, name: str, settings: Settings) -> Any:
    if name == "otlp":
        return _otlp(signal, settings)
    for entry in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return entry.load()()
    known = sorted({entry.name for entry in entry_points(group=f"opentelemetry_{signal}_exporter")} | {"otlp", "none"})
    raise SettingError(f"OTEL_{signal.upper()}_EXPORTER={name!r}: nothing provides it; there are {', '.join(known)}")


def _otlp(signal: str, settings: Settings) -> Any:
    protocol = config.signal_protocol(signal, settings)
    if (signal, protocol) not in _OTLP:
        raise SettingError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: got {protocol!r}, want http/protobuf or grpc")
    module, name = _OTLP[signal, protocol]
    try:
        kind = getattr(import_module(module), name)
    except ImportError as error:
        raise SettingError(
            f"protocol={protocol!r} needs a package that is missing ({error.name}): pip install 'otel-pipeline[grpc]'"
        ) from None
    endpoint = config.signal_endpoint(signal, settings)
    return kind(endpoint=endpoint) if endpoint else kind()
