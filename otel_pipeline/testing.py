"""What users' tests need.

``MemoryEngine`` counts runs and stages as the store does, without one:

>>> from otel_pipeline.model import Run
>>> engine = MemoryEngine()
>>> run = Run("0" * 31 + "1", "0" * 15 + "1", "r1", "orders", "success", started=0, ended=2_000_000_000)
>>> counts = engine.consume([run, run])
>>> engine.value("pipeline.run.ended", pipeline_name="orders", pipeline_run_result="success")
1
"""

from otel_pipeline.kpi.memory import MemoryEngine

__all__ = ["MemoryEngine"]
