"""What user code calls: pipelines, stages and what they report. Uses OpenTelemetry's API only, never the SDK.

::

    pipeline.py ─► runs        stage.py ─► stages, of which lazy.py wraps generators
        │                          │
        └──── frame.py: whose time it is ─── context.py: where we are ─── registry.py: what is open
"""
