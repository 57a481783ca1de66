"""What time alone brings about: runs that fell silent, due times that were missed, what is not as expected.

::

    tick ─┬─ listening: Store.close_silent ─► runs closed as lost
          └─ Store.judge ─► breaches, noted and counted

Whoever reads or serves calls it: `runs`, `show` and `stats` after their drain, `serve` again and again. It may be
called as often as one likes, by several processes at once: what it finds follows from what is stored and from the time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otel_pipeline import config
from otel_pipeline.declaration import texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_pipeline.kpi.breaches import Change
    from otel_pipeline.store.store import Store


def declared_in_file() -> Mapping[str, str] | None:
    """What the config file declares of pipelines; None without a file, or where it has no ``pipelines``.

    Raises SettingError and ExpectationError for what is wrong in it.
    """
    told = config.pipelines()
    return None if told is None else texts_of(told[1], told[0])


def tick(
    store: Store, *, file: Mapping[str, str] | None = None, listening: bool = False, now: int | None = None
) -> tuple[list[Change], list[str]]:
    """Bring the store's breaches up to ``now``; what has changed, and lines about declarations that cannot be used.

    ``file`` is what ``declared_in_file`` gives; None leaves what a file has said before. Who receives OTLP is
    ``listening``, and closes silent runs. Raises StoreError.
    """
    if store.read_only:
        return [], []
    now = time.time_ns() if now is None else now
    if listening:
        store.close_silent(now=now)
    return store.judge(file, now=now)
