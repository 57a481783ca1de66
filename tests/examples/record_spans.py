"""Run the instrumented example on the folder and the database given, and print its spans as JSON.

A process of its own, since a tracer provider can be set once in each.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def main() -> None:
    """Use the API alone, without `setup`, on a provider of the user's."""
    example, root, database, limit = sys.argv[1:]
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    spec = importlib.util.spec_from_file_location("stdlib_index", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build_index(Path(root), database, int(limit) if limit else None)
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    found: list[dict[str, Any]] = [
        {
            "name": span.name,
            "parent": names.get(span.parent.span_id) if span.parent else None,
            "error": not span.status.is_ok,
            "attributes": dict(span.attributes or {}),
            "events": [{"name": event.name, **(event.attributes or {})} for event in span.events],
        }
        for span in spans
    ]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
