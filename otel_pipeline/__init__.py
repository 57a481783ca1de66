"""Data pipelines seen through OpenTelemetry."""
