"""The table: what is measured, against whom, and which ratio is the goal. A new comparison is a row here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.exits import exits
from bench.growth import growth
from bench.kills import kills
from bench.processor import behind_a_filter, whole_path
from bench.rounds import fresh, resident, whole
from bench.short import short_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.figures import Samples
    from bench.rounds import Bench

# What a sample is multiplied by to be shown.
UNITS = {"B": 1.0, "ns": 1e9, "µs": 1e6, "ms": 1e3, "s": 1.0, "MB": 1e-6, "%": 1.0}


@dataclass(frozen=True)
class Row:
    """One comparison. ``sides`` are of the ``case``'s program, ours first; of each pair in ``above`` the second, which
    is the same without what is measured, is subtracted from the first.

    ``goals`` are upper bounds of the ratio ours / peer; a peer without one is shown for information. ``most`` is an
    upper bound of our own value, in ``unit``. ``sizes`` are items per round, by scale.
    """

    number: str
    what: str
    unit: str
    case: str
    sides: tuple[str, ...]
    measure: Callable[[Bench, Row], Samples]
    goals: Mapping[str, float] = field(default_factory=dict)
    above: Mapping[str, str] = field(default_factory=dict)
    most: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    endpoint: str = "refusing"
    together: bool = False
    argument: str = ""

    def size(self, scale: str) -> int:
        """Items per round."""
        return self.sizes.get(scale, 0)


def _exit(endpoint: str, spans: int, timeout: int) -> Row:
    waits = f"{timeout} s of waiting allowed" if timeout else "no waiting"
    return Row(
        "5",
        f"exit, Collector {endpoint}, {spans:,} spans, {waits}",
        "s",
        "exiting",
        ("ours", "stock"),
        exits,
        # The ratio is a goal where there is something to send and no waiting; the time is one everywhere.
        goals={"stock": 0.02} if spans >= 2000 and not timeout else {},
        most=timeout + 0.2,
        sizes={"full": spans, "quick": spans, "tiny": min(spans, 20)},
        endpoint=endpoint,
        argument=str(timeout),
    )


ROWS: tuple[Row, ...] = (
    Row(
        "1",
        "`Stage.track`, per record above the bare loop",
        "ns",
        "loop",
        ("ours", "tqdm", "prometheus_client inc()", "bare loop"),
        resident,
        goals={"tqdm": 0.20, "prometheus_client inc()": 0.08},
        above=dict.fromkeys(("ours", "tqdm", "prometheus_client inc()"), "bare loop"),
        sizes={"full": 500_000, "quick": 200_000, "tiny": 1000},
        together=True,
    ),
    Row(
        "1b",
        "a record that crosses a boundary between two generator stages",
        "ns",
        "loop",
        ("two stages", "prometheus_client inc()", "one stage", "bare loop"),
        resident,
        goals={"prometheus_client inc()": 2.0},
        above={"two stages": "one stage", "prometheus_client inc()": "bare loop"},
        sizes={"full": 100_000, "quick": 50_000, "tiny": 1000},
        together=True,
    ),
    Row(
        "1b",
        "the same, in chunks of 1,000 records",
        "ns",
        "loop",
        ("two stages, chunks", "prometheus_client inc()", "one stage, chunks", "bare loop"),
        resident,
        above={"two stages, chunks": "one stage, chunks", "prometheus_client inc()": "bare loop"},
        sizes={"full": 500_000, "quick": 200_000, "tiny": 1000},
        together=True,
    ),
    Row(
        "2",
        "a stage with 8 attributes, KPIs and queue on",
        "µs",
        "stage",
        ("ours", "OpenTelemetry", "Sentry", "Logfire"),
        resident,
        goals={"OpenTelemetry": 1.5, "Sentry": 0.6, "Logfire": 0.3},
        sizes={"full": 1000, "quick": 500, "tiny": 20},
    ),
    Row(
        "2",
        "the same, encoded and delivered to a healthy receiver",
        "µs",
        "stage",
        ("ours, delivered", "OpenTelemetry, delivered"),
        resident,
        sizes={"full": 1000, "quick": 500, "tiny": 20},
        endpoint="taking",
    ),
    *(
        Row(
            "2b",
            f"{what}, its collection included",
            "µs",
            "calls",
            sides,
            resident,
            sizes={"full": 5000, "quick": 2000, "tiny": 20},
        )
        for what, sides in (
            (
                '`counter.add(1, currency="EUR")`',
                ("counter", "prometheus_client labels().inc()", "OpenTelemetry add"),
            ),
            (
                '`histogram.record(12.5, currency="EUR")`',
                ("histogram", "prometheus_client labels().observe()", "OpenTelemetry record"),
            ),
            ('`with timed("parse")`', ("timed", "OpenTelemetry span and record", "Sentry span")),
        )
    ),
    Row(
        "3",
        "`setup()` with three signals, imports included",
        "ms",
        "job",
        ("ours", "stock", "logfire.configure"),
        fresh,
        goals={"stock": 0.7, "logfire.configure": 0.45},
        endpoint="taking",
        argument="setup",
    ),
    Row(
        "3",
        "the whole life of a job with 3 stages, delivered",
        "ms",
        "job",
        ("ours", "stock", "bare"),
        whole,
        above={"ours": "bare", "stock": "bare"},
        sizes={"full": 3, "quick": 3, "tiny": 3},
        endpoint="taking",
        argument="life",
    ),
    Row(
        "4",
        "`import otel_pipeline`",
        "ms",
        "importing",
        ("ours", "opentelemetry.sdk.trace"),
        fresh,
        goals={"opentelemetry.sdk.trace": 0.5},
    ),
    Row(
        "4",
        "the same with `pipeline` and `stage`, as a library uses them; OpenTelemetry's API alone is 0.5",
        "ms",
        "importing",
        ("ours, its names", "opentelemetry.sdk.trace", "opentelemetry.trace"),
        fresh,
        goals={"opentelemetry.sdk.trace": 0.5},
    ),
    *(
        _exit(endpoint, spans, timeout)
        for endpoint in ("refusing", "black-holed")
        for spans in (10, 2000)
        for timeout in (0, 2)
    ),
    Row(
        "6",
        "ended run and stage spans lost by SIGKILL",
        "%",
        "killed",
        ("ours", "stock"),
        kills,
        most=0.0,
        sizes={"full": 40, "quick": 8, "tiny": 1},
    ),
    Row(
        "7",
        "encode and store one span, so that it outlives the process",
        "µs",
        "storing",
        ("ours", "stock encoder and SQLite"),
        resident,
        goals={"stock encoder and SQLite": 0.3},
        sizes={"full": 1000, "quick": 500, "tiny": 20},
        together=True,
    ),
    Row(
        "8",
        "100 runs of 50 ms: those that `increase()` in Prometheus does not see",
        "%",
        "short",
        ("ours", "stock"),
        short_runs,
        most=0,
        sizes={"full": 100, "quick": 100, "tiny": 2},
    ),
    Row(
        "9",
        "a span that a server takes, 1 in 20 of a pipeline; ours acknowledges after the commit",
        "µs",
        "serve",
        ("ours", "Collector, span_metrics"),
        whole_path,
        goals={"Collector, span_metrics": 1.0},
        sizes={"full": 200, "quick": 60, "tiny": 2},
    ),
    Row(
        "9",
        "the same traffic, ours behind a Collector that lets only spans of ours through",
        "µs",
        "serve",
        ("ours, filtered", "Collector, span_metrics"),
        behind_a_filter,
        goals={"Collector, span_metrics": 0.25},
        sizes={"full": 200, "quick": 60, "tiny": 2},
    ),
    Row(
        "10",
        "store: bytes per run of 5 stages, from 10⁴ to 10⁶ runs of 200 pipelines",
        "B",
        "history",
        ("each more", "of 10⁴"),
        fresh,
        most=800,
        sizes={"full": 10, "quick": 5, "tiny": 1},
        argument="bytes",
    ),
    *(
        Row(
            "10",
            f"store: {what}, 10⁶ runs",
            "ms",
            "history",
            (f"{side}, 10⁶ runs", f"{side}, 10⁴ runs"),
            growth,
            goals={f"{side}, 10⁴ runs": 1.5},
            most=50,
            sizes={"full": 10, "quick": 5, "tiny": 1},
        )
        for side, what in (("list", "the last 40 runs of each of 200 pipelines"), ("page", "one run with its stages"))
    ),
    Row(
        "16",
        "memory of a job above bare Python, after 2,000 spans",
        "MB",
        "job",
        ("ours", "stock", "bare"),
        fresh,
        goals={"stock": 1.0},
        above={"ours": "bare", "stock": "bare"},
        sizes={"full": 2000, "quick": 2000, "tiny": 20},
        endpoint="taking",
        argument="memory",
    ),
)

# Rows of the goals that other rooms will feed; they join the table above.
NOT_YET = {
    "11": "rule evaluation, beside Prometheus",
    "12": "default rules, one evaluation at 1,000 series",
    "13": "FastAPI: requests per second, beside OpenTelemetry's instrumentation",
    "14": "system sampler: share of a core",
    "15": "console: first load, time to chart, memory",
}
