"""KPIs of the user's own: rows of the config file count like those of the catalogue, and bad ones are quoted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from otel_pipeline.errors import SettingError
from otel_pipeline.kpi.engine import Engine
from otel_pipeline.kpi.exposition import as_prometheus
from otel_pipeline.kpi.facts import facts_of_run, facts_of_stage
from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.kpi.own import MOST_BOUNDS, rows_of
from otel_pipeline.model import Check, Dataset, Records
from otel_pipeline.semconv.catalogue import CATALOGUE, FIELDS
from otel_pipeline.semconv.kpi import TOLD
from otel_pipeline.store.store import Store
from otel_pipeline.store.tables import MOST_BUCKETS
from tests.kpi.events import NOW, run, stage
from tests.served import cli, serving
from tests.test_serve import exporter_to, send_run

if TYPE_CHECKING:
    from otel_pipeline.semconv.catalogue import Kpi

DOCS = Path(__file__).parents[2] / "docs"
READ = {"name": "shop.read", "event": "dataset", "value": "bytes"}
DATASETS = (Dataset("t", "read", 5, 100), Dataset("t", "write", 5, 80), Dataset("u", "read", 1, 7))


def row(**told: Any) -> Kpi:
    """One row, as a file would say it."""
    [made] = rows_of([told], "x.yaml")
    return made


def shown(store: Store) -> dict[str, str]:
    """What Prometheus gets of rows named shop."""
    with store.reading() as reader:
        text = as_prometheus(reader.catalogue, reader.rising(NOW))
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("shop"))


def test_the_row_of_the_docs_counts() -> None:
    """As docs/kpis.md shows it."""
    [text] = re.findall(r"```yaml\n(.*?)```", (DOCS / "kpis.md").read_text("utf-8"), re.DOTALL)
    own = rows_of(yaml.safe_load(text)["kpis"], "x.yaml")
    engine = MemoryEngine([*CATALOGUE, *own])
    engine.consume([stage(datasets=DATASETS)])
    lines = as_prometheus(own, engine.figures(NOW)).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'shop_read_bytes_total{pipeline_dataset_name="t"} 100',
        'shop_read_bytes_total{pipeline_dataset_name="u"} 7',
    ]


def test_defaults_and_units() -> None:
    """A row that says little counts events by pipeline; durations are seconds."""
    plain = row(name="shop.runs", event="run")
    assert (plain.value, plain.metric.attributes, plain.metric.prometheus) == (
        "one",
        ("pipeline.name",),
        "shop_runs_total",
    )
    took = row(name="shop.took", event="run", value="duration", instrument="histogram", buckets=[1, 5])
    engine = MemoryEngine([took])
    engine.consume([run(took=2)])
    [figure] = engine.figures(NOW)
    assert (figure.kpi.metric.prometheus, figure.numbers) == ("shop_took_seconds", (2.0, 1, 0, 1, 0))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"name": "x"}, "kpis: want a list"),
        ([3], "kpis: 1: want `key: value` lines, got 3"),
        ([{"event": "run"}], "kpis: 1: name: None: want a letter"),
        ([{"name": "9", "event": "run"}], "kpis: 9: name: '9': want a letter"),
        ([{**READ, "lables": []}], "kpis: shop.read: lables: there is no such key; there are name, event"),
        ([{"name": "x", "event": "runs"}], "kpis: x: event: 'runs': there is no such thing here; there are run, "),
        ([{"name": "x", "event": "pipeline"}], "kpis: x: event: 'pipeline': there is no such thing here"),
        ([{**READ, "value": "rows"}], "value: 'rows': there is no such thing here; there are one, records, bytes"),
        ([{**READ, "labels": ["table"]}], "labels: 'table': there is no such thing here; there are pipeline.name, "),
        ([{**READ, "labels": "pipeline.name"}], "labels: want a list, got 'pipeline.name'"),
        ([{**READ, "where": {"status": "out"}}], "where: status: there is no such field; there are pipeline, stage"),
        ([{**READ, "where": {"dataset": 5}}], "where: dataset: 5: want a text"),
        ([{**READ, "instrument": "gauge"}], "instrument: 'gauge': there is no such thing here; there are counter, "),
        ([{**READ, "instrument": "histogram"}], "buckets: None: want 1 to 19 rising numbers"),
        ([{**READ, "instrument": "histogram", "buckets": [2, 1]}], "buckets: [2, 1]: want 1 to 19 rising numbers"),
        ([{**READ, "instrument": "histogram", "buckets": [True]}], "buckets: [True]: want 1 to 19 rising numbers"),
        ([{**READ, "buckets": [1]}], "buckets: only a histogram has some"),
        ([{**READ, "unit": "s"}], "unit: 's': want By"),
        ([{**READ, "name": "pipeline.run.ended"}], "there is pipeline.run.ended already: choose another name"),
        ([{"name": "pipeline.runs", "event": "run"}], "there is pipeline_runs_total already"),
        ([READ, READ], "there is shop.read already"),
        ([{"name": "otel_pipeline.x", "event": "run"}], "there is otel_pipeline_x_total already"),
    ],
)
def test_what_cannot_be_used_is_quoted(told: Any, said: str) -> None:
    """With the file, the row, and what there is instead."""
    with pytest.raises(SettingError, match=re.escape(said)) as raised:
        rows_of(told, "x.yaml")
    assert str(raised.value).startswith("x.yaml: kpis")


def test_a_row_that_is_changed_begins_anew(tmp_path: Path) -> None:
    """What was counted by other labels is not mixed with it; one that only has another description goes on."""
    path, first = tmp_path / "store.db", row(**READ)

    def counted(own: Kpi, number: int) -> dict[str, str]:
        store = Store(path, engine=Engine([*CATALOGUE, own]))
        store.write([stage(f"r{number}", span=number, datasets=DATASETS)], now=NOW)
        return shown(store)

    assert counted(first, 1) == {'shop_read_bytes_total{pipeline_name="orders"}': "187"}
    assert counted(row(**READ, description="All."), 2) == {'shop_read_bytes_total{pipeline_name="orders"}': "374"}
    by_two = row(**READ, labels=["pipeline.name", "pipeline.dataset.name"], where={"operation": "read", "dataset": "t"})
    series = 'shop_read_bytes_total{pipeline_name="orders",pipeline_dataset_name="t"}'
    assert counted(by_two, 3) == {series: "100"}


def test_the_commands_and_the_processor_count_the_rows_of_the_file(tmp_path: Path) -> None:
    """And a file with a row that is none is one line and exit status 2."""
    file = tmp_path / "otel-pipeline.yaml"
    file.write_text("kpis: [{name: shop.in, event: records, value: count, where: {status: in}}]")
    with serving(tmp_path) as served:
        send_run(exporter_to(served, "http"), "r1")
        assert served.metrics()['shop_in_total{pipeline_name="orders"}'] == 7
    [statistic] = json.loads(cli(tmp_path, "stats", "shop.in", "--json").stdout)
    assert (statistic["metric"], statistic["sum"], statistic["value"]) == ("shop_in_total", 7, 7)
    file.write_text("kpis: [{name: shop.in, event: record}]")
    refused = cli(tmp_path, "runs")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "kpis: shop.in: event: 'record'" in refused.stderr


def test_what_events_tell_is_what_facts_have() -> None:
    """The table from which rows choose, against the facts themselves."""
    counts = Records(1, 1, 1, 1, 1, 1)
    told = stage(records=counts, datasets=DATASETS, checks=(Check("c", "t", "k", 1, 1),), error_type="E")
    ended = replace(run(), cpu_time=1.0, error_type="E")
    facts = [*facts_of_stage(told), *facts_of_run(ended)]
    for event, fact in facts:
        known = {FIELDS[key] for key in TOLD[event].labels} | {*TOLD[event].values}
        assert known <= fact.keys(), event
    assert {event for event, _ in facts} | {"superseded", "backfill", "breach"} == set(TOLD)
    assert MOST_BOUNDS + 1 == MOST_BUCKETS
