"""KPIs of the user's own: rows of a config file, as rows of the catalogue. Pure.

::

    kpis:                                         docs/kpis.md has what there is to choose from
      - name: shop.read                           event: dataset        what is counted
        labels: [pipeline.dataset.name]           value: bytes          and which of its numbers
        unit: By                                  where: {operation: read}

What was counted under another definition is not added to: a row whose labels, value, conditions or buckets are changed
begins anew.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import TYPE_CHECKING, Any

from otel_pipeline.errors import SettingError
from otel_pipeline.kpi.cardinality import MOST_BUCKETS
from otel_pipeline.kpi.names import Name, names_of, prometheus_name
from otel_pipeline.semconv import attributes as a
from otel_pipeline.semconv.catalogue import CATALOGUE, FIELDS, Kpi
from otel_pipeline.semconv.kpi import SECONDS, TOLD, Told
from otel_pipeline.semconv.tables import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

KEYS = ("name", "event", "value", "where", "labels", "instrument", "unit", "description", "buckets")
"""What a row may say; ``name`` and ``event`` it must."""
INSTRUMENTS = ("counter", "histogram")
MOST_BOUNDS = MOST_BUCKETS - 1
_UNITS = {**dict.fromkeys(SECONDS, "s"), "bytes": "By"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


def rows_of(file: object, where: str) -> tuple[Kpi, ...]:
    """The rows of a config file's ``kpis``; ``where`` names the file. Raises SettingError, which quotes what is wrong.

    >>> rows_of([{"name": "shop.read", "event": "dataset", "value": "bytes"}], "x.yaml")[0].metric.prometheus
    'shop_read_bytes_total'
    """
    rows: list[Kpi] = []
    for number, told in enumerate(_list(file, f"{where}: kpis"), 1):
        name = told.get("name") if isinstance(told, dict) else None
        here = f"{where}: kpis: {name or number}"
        row = _row(_mapping(told, here, KEYS, "key"), here)
        if taken := _taken([*CATALOGUE, *rows], row):
            raise SettingError(f"{here}: there is {taken} already: choose another name")
        rows.append(row)
    return tuple(rows)


def _row(told: dict[str, Any], here: str) -> Kpi:
    name = told.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingError(f"{here}: name: {name!r}: want a letter, then letters, digits, _ . - and /")
    event = _chosen(told.get("event"), TOLD, f"{here}: event")
    value = _chosen(told.get("value", "one"), TOLD[event].values, f"{here}: value")
    labels = _list(told.get("labels", [a.PIPELINE_NAME]), f"{here}: labels")
    keys = tuple(dict.fromkeys(_chosen(label, TOLD[event].labels, f"{here}: labels") for label in labels))
    conditions = _conditions(told.get("where", {}), TOLD[event], f"{here}: where")
    instrument = _chosen(told.get("instrument", "counter"), INSTRUMENTS, f"{here}: instrument")
    bounds = _bounds(told.get("buckets"), f"{here}: buckets") if instrument == "histogram" else ()
    if instrument != "histogram" and "buckets" in told:
        raise SettingError(f"{here}: buckets: only a histogram has some: add `instrument: histogram`")
    unit = told.get("unit", _UNITS.get(value, "1"))
    if not isinstance(unit, str) or _UNITS.get(value, unit) != unit:
        raise SettingError(f"{here}: unit: {unit!r}: want {_UNITS.get(value, 'a text such as {order}')}")
    prometheus = prometheus_name(name, unit, instrument)
    description = str(told.get("description", f"{value} of {event}, as the config file says."))
    metric = Metric(name, instrument, unit, " ".join(description.split()), keys, prometheus, bounds)
    variant = hashlib.sha256(repr((event, value, keys, conditions, instrument, bounds)).encode()).hexdigest()[:8]
    return Kpi(metric, event, value, 10**9 if value in SECONDS else 1, conditions, variant=variant)


def _conditions(told: object, of: Told, here: str) -> tuple[tuple[str, str], ...]:
    found = _mapping(told, here, [FIELDS[key] for key in of.labels], "field")
    for field, value in found.items():
        if not isinstance(value, str):
            raise SettingError(f"{here}: {field}: {value!r}: want a text")
    return tuple(sorted(found.items()))


def _bounds(told: object, here: str) -> tuple[float, ...]:
    bounds = told if isinstance(told, list) else []
    numbers = [bound for bound in bounds if type(bound) in (int, float) and math.isfinite(bound)]
    if not numbers or len(numbers) != len(bounds) or len(bounds) > MOST_BOUNDS or sorted({*numbers}) != numbers:
        raise SettingError(f"{here}: {told!r}: want 1 to {MOST_BOUNDS} rising numbers, such as [1, 10, 100]")
    return tuple(numbers)


def _chosen(told: object, known: Iterable[Any], here: str) -> Any:
    if told not in (choice := list(known)):
        raise SettingError(f"{here}: {told!r}: there is no such thing here; there are {', '.join(choice)}")
    return told


def _list(told: object, here: str) -> list[Any]:
    if not isinstance(told, list):
        raise SettingError(f"{here}: want a list, got {told!r:.80}")
    return told


def _mapping(told: object, here: str, known: Sequence[str], what: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise SettingError(f"{here}: want `{what}: value` lines, got {told!r:.80}")
    for key in told:
        if key not in known:
            raise SettingError(f"{here}: {key}: there is no such {what}; there are {', '.join(known)}")
    return told


def _taken(rows: Sequence[Kpi], row: Kpi) -> str | None:
    """A name of ``row`` that one of ``rows`` has, or that is the processor's own."""
    if row.name in {other.name for other in rows}:
        return row.name
    names = {part for name in names_of(rows) for part in _parts(name)}
    return next((part for part in _parts(Name(row)) if part in names or part.startswith("otel_pipeline_")), None)


def _parts(name: Name) -> Iterator[str]:
    yield name.name
    yield from (name.name + part for part in _PARTS.get(name.type, ()))
