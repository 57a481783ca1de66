"""Our environment variables, by the names under which OpenTelemetry's launcher looks for them.

``opentelemetry-instrument --pipeline_name orders python etl.py`` is the same as setting ``OTEL_PIPELINE_NAME``.
"""

from otel_pipeline.settings import SETTINGS

globals().update({setting.env: setting.env for setting in SETTINGS})
