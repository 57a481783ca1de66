"""``otel-pipeline run`` as a process, with stand-ins for the sending and the summary.

``python -m tests.run.parent_process FILE MODE COMMAND…`` appends each span to FILE as a line of JSON.
MODE is ``plain``, or what goes wrong: ``failing`` or ``stuck``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_pipeline.run import leave, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_pipeline.model import Run, Stage


class _Telemetry:
    def __init__(self, file: Path, mode: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

        class ToFile(SpanExporter):
            def export(self, spans: Sequence[Any]) -> SpanExportResult:
                with file.open("a") as lines:
                    lines.writelines(json.dumps(json.loads(span.to_json())) + "\n" for span in spans)
                return SpanExportResult.SUCCESS

        self.mode = mode
        self.tracer_provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(ToFile()))

    def shutdown(self) -> None:
        if self.mode == "stuck":
            time.sleep(3600)
        self.tracer_provider.shutdown()


def _main() -> None:
    file, mode, *command = sys.argv[1:]

    def telemetry(settings: Mapping[str, str]) -> _Telemetry:
        if mode == "failing":
            raise RuntimeError("no telemetry\nin two lines")
        Path(f"{file}.settings").write_text(json.dumps(dict(settings)))
        return _Telemetry(Path(file), mode)

    def summary(the_run: Run, stages: Sequence[Stage]) -> None:
        if mode == "failing":
            raise RuntimeError("no summary")
        Path(f"{file}.summary").write_text(f"{the_run.pipeline}: {[stage.name for stage in stages]}")

    leave(run(command, telemetry=telemetry, summary=summary))


if __name__ == "__main__":
    _main()
