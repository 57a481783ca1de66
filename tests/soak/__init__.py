"""The whole of each heavy matrix: ``python -m tests.soak [NAME ...]``. Parts of them are tests of every day.

::

    __main__.py ─► SOAKS: a name and a function (folder) ─► Section ─► report.py ─► report.md

A soak raises nothing for what it finds: it is in its section, and the exit status is 1.
"""
