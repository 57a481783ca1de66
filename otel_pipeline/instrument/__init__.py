"""What user code calls: pipelines, stages and what they report. Uses OpenTelemetry's API only, never the SDK.

::

    decorate.py ─┬─► run.py, stage.py, crawl.py ──► spans      lazy.py and lazy_async.py wrap generators
                 │      scope.py: a frame with a span
                 └─► operations.py ─► timing.py ──► metrics    business.py: a user's own
                        a frame without one           └─ measuring.py: noted now, handed over when the SDK collects

    frame.py: whose time it is    context.py: where we are    registry.py: what is open, and all global state
"""
