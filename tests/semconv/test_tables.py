"""The vocabulary is one: names are unique, rows agree with each other, and the code emits nothing else."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from otel_pipeline.kpi.names import prometheus_name
from otel_pipeline.semconv import attributes, events, metrics
from otel_pipeline.semconv.attributes import ATTRIBUTES
from otel_pipeline.semconv.catalogue import METRICS
from otel_pipeline.semconv.events import EVENTS
from otel_pipeline.semconv.tables import Event, Metric

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "otel_pipeline"
DOCS = (ROOT / "docs" / "semantic-conventions.md").read_text("utf-8")
KEYS = {row.key: row for row in ATTRIBUTES}
NAMES = [*KEYS, *(event.name for event in EVENTS), *(metric.name for metric in METRICS)]


def _constants(module: object) -> dict[str, str]:
    """The names that a module of the vocabulary gives to the rest of the code."""
    values = {name: value for name, value in vars(module).items() if name.isupper() and not name.startswith("_")}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def test_names_are_unique() -> None:
    """No two attributes, and no two events or metrics, have the same name: neither here nor in Prometheus."""
    for names in (
        [row.key for row in ATTRIBUTES],
        [event.name for event in EVENTS] + [metric.name for metric in METRICS],
        [metric.prometheus for metric in METRICS],
    ):
        assert [name for name, number in Counter(names).items() if number > 1] == []


def test_every_constant_is_a_row() -> None:
    """Each constant of the vocabulary names exactly one row, and each row has a constant."""
    assert Counter(_constants(attributes).values()) == Counter(list(KEYS))
    assert Counter(_constants(events).values()) == Counter(event.name for event in EVENTS)
    rows = Counter(value.name for value in vars(metrics).values() if isinstance(value, Metric))
    assert rows == Counter(metric.name for metric in METRICS if metric.name in rows)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented(name: str) -> None:
    """Each name is the first cell of a row of docs/semantic-conventions.md."""
    assert f"\n| `{name}` |" in DOCS


def test_descriptions() -> None:
    """Each row says in a sentence what it is."""
    descriptions = [row.description for row in ATTRIBUTES]
    descriptions += [row.description for row in EVENTS]
    descriptions += [row.description for row in METRICS]
    for description in descriptions:
        assert re.fullmatch(r"\S.*\.", description, re.S)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_attributes_of_events_are_found_there(event: Event) -> None:
    """What an event carries are rows which say that they are found on such events."""
    place = "span event" if event.form == "span event" else "log event"
    assert [key for key in event.attributes if key not in KEYS or place not in KEYS[key].found] == []


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_attributes_of_metrics_are_found_there(metric: Metric) -> None:
    """Labels are rows which say that they are found on metrics; a run's id is none of them."""
    assert [key for key in metric.attributes if key not in KEYS or "metric" not in KEYS[key].found] == []
    assert attributes.RUN_ID not in metric.attributes


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_in_prometheus(metric: Metric) -> None:
    """The name in Prometheus is the one by the rule of OTLP's translation: unit and ``_total`` as suffixes."""
    assert metric.prometheus == prometheus_name(metric.name, metric.unit, metric.instrument)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_buckets(metric: Metric) -> None:
    """Histograms, and only they, have buckets, which rise."""
    assert bool(metric.buckets) is (metric.instrument == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def _literals(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


SPACES = "|".join(sorted({re.escape(name.rpartition(".")[0]) for name in NAMES if name.startswith("pipeline.")}))
FILES = sorted(path for path in SOURCE.rglob("*.py") if "semconv" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_other_name_is_emitted(path: Path) -> None:
    """A literal in the code that looks like a name of ours is a row of the vocabulary."""
    ours = re.compile(rf"(?:{SPACES})\.[a-z_]+(?:\.[a-z_]+)*")
    assert {text for text in _literals(path) if ours.fullmatch(text)} - set(NAMES) == set()


def test_the_vocabulary_imports_nothing_of_ours() -> None:
    """semconv is a leaf: everything may import it."""
    imports = re.compile(r"^\s*(?:from|import) (otel_pipeline[\w.]*)", re.M)
    found = {name for path in (SOURCE / "semconv").glob("*.py") for name in imports.findall(path.read_text("utf-8"))}
    assert {name for name in found if not name.startswith("otel_pipeline.semconv")} == set()
