"""The KPI metrics on their way to Prometheus: by OTLP to a Collector, from one processor at a time.

::

    Store.export ─► Moment ─► points.py: export requests ─► transport of the queue ─► Collector ─► Prometheus
         ▲                                                        │
         └── delivered ◄──────────────── accepted ────────────────┘
"""
