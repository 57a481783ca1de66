"""What users' tests need (docs/testing.md).

``recorded`` has what pipelines did, in memory; with pytest, the fixture ``pipelines`` is the same:

>>> import otel_pipeline as op
>>> with recorded() as pipelines:
...     with op.pipeline("orders"), op.stage("load") as stage:
...         stage.add(records_out=2)
>>> pipelines.run("orders").stage("load").records.out
2

``MemoryEngine`` counts runs and stages as the store does, without one:

>>> engine = MemoryEngine()
>>> counts = engine.consume([*pipelines.runs, *pipelines.runs])
>>> engine.value("pipeline.run.ended", pipeline_name="orders", pipeline_run_result="success")
1
"""

from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.sdk.recorded import Pipelines, RecordedRun, recorded

__all__ = ["MemoryEngine", "Pipelines", "RecordedRun", "recorded"]
