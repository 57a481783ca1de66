"""What a test measured: the points that a meter provider of its own has collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData

Series = tuple[str, tuple[tuple[str, Any], ...]]


class Measured:
    """A provider, and what it collects."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def collect(self) -> MetricsData | None:
        """All of it, which OpenTelemetry's own encoder can write."""
        data = self._reader.get_metrics_data()
        if data is not None:
            encode_metrics(data).SerializeToString()
        return data

    def points(self) -> dict[Series, Any]:
        """By name and sorted labels: values; of a histogram its count and sum."""
        data = self.collect()
        return {
            (metric.name, tuple(sorted((point.attributes or {}).items()))): (
                point.value if hasattr(point, "value") else (point.count, point.sum)
            )
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }

    def of(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """Those of one metric, by labels."""
        return {labels: value for (metric, labels), value in self.points().items() if metric == name}

    def value(self, name: str, **labels: str) -> Any:
        """The value of the only series that has these labels (underscores for dots); None where there is none."""
        wanted = labels.items()
        found = [
            value for told, value in self.of(name).items()
            if wanted <= {(key.replace(".", "_"), text) for key, text in told}
        ]  # fmt: skip
        assert len(found) <= 1, found
        return found[0] if found else None
