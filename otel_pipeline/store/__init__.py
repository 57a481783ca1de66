"""The local store: what runs and stages there were, and the KPIs that they have added up to.

::

    values ─► Store.write ─► one transaction: ledger rows (ledger.py) and sums (sums.py)
    Store.reading ─► Reader (reading.py): last runs, one run, the state that figures are made of
    both ─► Database (database.py): SQLite or PostgreSQL

SQLAlchemy Core, and the driver's text where it is hot. Importing this package needs the extra ``server``; nothing of a
user's process imports it.
"""
