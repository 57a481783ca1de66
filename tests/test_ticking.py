"""From what a pipeline declares to what a person and Prometheus see, through real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.served import MAIN, TIMEOUT, cli, environment, serving

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import otel_pipeline as op
op.setup("etl", script_run=False, instrument=False, exit_timeout=30)
expect = op.Expect(duration="1h..2h", records=">=100")
with op.pipeline("orders", expect=expect, slo=op.Slo(availability="99%")), op.stage("load") as stage:
    stage.dataset("t", "write", records=7)
"""


def run(folder: Path, program: str = PROGRAM, **more: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(folder) | more, capture_output=True, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def with_file(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of ``otel-pipeline`` with such a config file."""
    (folder / "conf.yaml").write_text(text)
    named = {"OTEL_PIPELINE_CONFIG_FILE": str(folder / "conf.yaml")}
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], env=environment(folder) | named, capture_output=True, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip


def test_without_a_server_the_commands_look(tmp_path: Path) -> None:
    """`show` and `runs` name what was not as expected, and it is counted once, however often they look."""
    run(tmp_path)
    for _ in range(2):
        shown = json.loads(cli(tmp_path, "show", "last", "--json").stdout)
    fast, few = sorted(shown["unexpected"], key=lambda each: each["what"])
    assert (fast["what"], fast["low"], fast["high"], fast["learned"]) == ("too_fast", 3600.0, 7200.0, None)
    assert fast["value"] == shown["duration"]
    assert few == {"what": "too_few", "since": shown["ended"], "resolved": None, "value": 7, "low": 100, "high": None,
                   "learned": None}  # fmt: skip
    assert "7 records, expected at least 100" in cli(tmp_path, "show", "last").stdout
    assert "7 records, expected at least 100" in cli(tmp_path, "runs").stdout
    [counted] = [
        each for each in json.loads(cli(tmp_path, "stats", "pipeline.run.unexpected.open", "--json").stdout)
        if each["labels"]["pipeline_expectation"] == "too_few"
    ]  # fmt: skip
    assert counted["value"] == 1
    [share] = json.loads(cli(tmp_path, "stats", "sla_compliance_ratio", "--json").stdout)
    assert (share["labels"], share["value"]) == ({"service": "orders"}, 1.0)


def test_the_processor_looks_by_itself(tmp_path: Path) -> None:
    """What it was sent, without anybody asking: a line on stderr, and the series for rules."""
    with serving(tmp_path) as served:
        run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{served.http}")
        series = 'pipeline_run_unexpected_total{pipeline_name="orders",pipeline_expectation="too_few"}'
        end = time.monotonic() + TIMEOUT
        while served.metrics().get(series) != 1 and time.monotonic() < end:
            time.sleep(0.1)
        found = served.metrics()
        assert found[series] == 1
        assert found['pipeline_run_unexpected_open{pipeline_name="orders",pipeline_expectation="too_few"}'] == 1
        assert found['pipeline_run_unexpected_total{pipeline_name="orders",pipeline_expectation="late"}'] == 0
        budget = 'pipeline_slo_budget_remaining_ratio{pipeline_name="orders",pipeline_slo_name="availability"}'
        assert found[budget] == 1
        served.stop()
        assert served.said.read_text().count("orders: 7 records, expected at least 100") == 1


def test_what_the_file_says_is_remembered(tmp_path: Path) -> None:
    """A command that knows the file notes it; from then on it holds without."""
    with_file(tmp_path, "pipelines: {orders: {expect: {duration: <1ms}}}", "runs")
    run(tmp_path)
    shown = json.loads(cli(tmp_path, "show", "last", "--json").stdout)
    assert [each["what"] for each in shown["unexpected"]] == ["too_slow"]


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    """The processor does not begin; a command goes on without it."""
    run(tmp_path)
    wrong = "pipelines: {orders: {expect: {duration: 30m}}}"
    line = "conf.yaml: pipelines: orders: Expect(duration='30m'): want bounds such as '<30m', '>=5m' or '5m..30m'"
    served = with_file(tmp_path, wrong, "serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    assert (served.returncode, served.stderr.count("\n")) == (2, 1)
    assert line in served.stderr
    runs = with_file(tmp_path, wrong, "runs")
    assert (runs.returncode, runs.stderr.count("\n")) == (0, 1)
    assert line in runs.stderr
    assert "orders" in runs.stdout
