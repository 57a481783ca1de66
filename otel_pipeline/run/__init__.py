"""``otel-pipeline run``: the parent of a user's command.

::

    environment.py  what the command gets ──► supervision.py  the command runs; signals.py: what is passed on to it
                                                   │ Ended
    sdk/handover.py what its processes told ──► ending.py  the run ─► parent.py: its span, the summary
                                                   │
                                              leaving.py  end as the command ended

The command runs in the parent's own process group, session, terminal and streams, so that job control, pipes and
debuggers work as without a parent. Why the parent makes the run's span: ``docs/decisions/0003-run-span-ownership.md``.
"""

from otel_pipeline.run.leaving import leave
from otel_pipeline.run.parent import run
from otel_pipeline.run.supervision import Ended, supervise

__all__ = ["Ended", "leave", "run", "supervise"]
