"""Programs that end in every way, what they ended by their own account, and what of it arrived.

::

    program.py ──writes──► truth.py ◄──reads── outcome.py ◄── found in Jaeger, Prometheus and the queue's files
        ▲                                           ▲
        └── play.py starts it, breaks its Collector (collectors.py), ends it, drains ── matrix.py says which cases

`kills.py` and `victim.py` are the same for a thousand SIGKILLs. Nothing here asserts how long something takes: what has
to happen is waited for, with a bound that only a hang reaches.
"""
