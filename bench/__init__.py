"""The bench: what this library costs, side by side with what people use instead, as ratios.

::

    python -m bench [ROW …]
        │  venv.py: the peers, in an environment of their own
        ▼
    rows.py (the table) ─► rounds.py, exits.py, kills.py ─► figures.py ─► report.py ─► the screen, bench/report.md
                                 │
                                 └─ a fresh process for each measured thing: cases/

docs/performance.md says how to read the report.
"""
