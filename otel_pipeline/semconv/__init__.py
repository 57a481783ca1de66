"""The one vocabulary: every attribute, event and metric of ours, a row each.

::

    attributes.py ─┐
    events.py ─────┼─► instrument/, sdk/, kpi/ (names)    scripts/generate_docs.py ─► docs/semantic-conventions.md
    metrics.py ────┘

A name that is not a row here is not emitted: tests/semconv holds the code to it. This package imports nothing of ours.
"""
