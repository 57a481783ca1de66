"""What people see on a terminal: the summary of a run, and its progress while it is open.

::

    Run, Stage ─► findings.py (grouped) ─┐
                  timeline.py (cells) ───┼─► table.py ─► view.py (lines) ─► printing.py (file, colour, encoding)
                  figures.py (text) ─────┘                                               ▲
    RunProgress, StageProgress ──────────────────────────────────► progress.py (lines) ──┘

Importing this package does not load rich: a process that prints nothing does not pay for it.
"""

from otel_pipeline.terminal.printing import print_summary, summary

__all__ = ["print_summary", "summary"]
