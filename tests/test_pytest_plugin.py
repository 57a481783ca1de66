"""The plugin for pytest, in test suites of users' own: run as processes, with the package installed."""

from __future__ import annotations

import os
import textwrap
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("pytester",)

PIPELINE = """
import otel_pipeline as op

op.setup("orders", version="1")

@op.stage
def extract(n):
    yield from op.current_stage().track(range(n))

@op.stage
def transform(rows):
    for row in rows:
        if row % 100 == 7:
            op.current_stage().fail(ValueError("no customer"), record={"id": row})
        else:
            yield row

@op.pipeline("orders_etl")
def main(n=1000):
    with op.stage("load") as stage:
        written = sum(1 for _ in transform(extract(n)))
        stage.dataset("warehouse.orders", "write", records=written)
        stage.check("not_null", dataset="warehouse.orders", passed=written, failed=0)
    return written
"""


class Suite:
    """A user's test suite: pipelines in ``etl.py``, a home of its own, and nothing of ours in the environment."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        for name in list(os.environ):
            if name.startswith(("OTEL_", "TRACE", "PYTEST_")):
                monkeypatch.delenv(name)
        self.home = pytester.path / "home"
        for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
            monkeypatch.setenv(name, str(self.home))
        pytester.makepyfile(etl=PIPELINE)

    def run(self, test: str, *arguments: str) -> pytest.RunResult:
        """Run a test file."""
        self._pytester.makepyfile(test_etl="import otel_pipeline as op\nimport etl\n" + textwrap.dedent(test))
        return self._pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *arguments)

    def kept(self) -> list[Path]:
        """What was written into the user's folders."""
        return [path for path in self.home.rglob("*") if path.is_file()]


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A test suite of a user's."""
    return Suite(pytester, monkeypatch)


def test_the_plugin_is_installed() -> None:
    """The entry point leads to it."""
    (entry,) = entry_points(group="pytest11", name="otel_pipeline")
    assert entry.value == "otel_pipeline.pytest_plugin"


def test_pipelines_run_as_if_nothing_were_there(suite: Suite) -> None:
    """Without asking: results are the user's, ``setup()`` may be called anew in each test, and nothing is kept."""
    result = suite.run(
        """
        import subprocess, sys
        def test_result():
            assert etl.main() == 990
        def test_another_setup():
            handle = op.setup("something", version="2", endpoint="http://127.0.0.1:9")
            assert handle.flush() and etl.main(10) == 9
            handle.shutdown()
        def test_setup_after_shutdown():
            assert op.setup("else").tracer_provider is None
        def test_a_process():
            subprocess.run([sys.executable, "-c", "import etl; assert etl.main() == 990"], check=True)
        def test_under_the_parent():
            program = "import sys; from otel_pipeline.cli import main; sys.exit(main())"
            command = ["run", "--", sys.executable, "-c", "import etl; etl.main()"]
            done = subprocess.run([sys.executable, "-c", program, *command], check=True, capture_output=True)
            assert done.stderr == b""
        """
    )
    result.assert_outcomes(passed=5)
    assert suite.kept() == []


def test_a_wrong_setting_is_still_an_error(suite: Suite) -> None:
    """It would be one in production."""
    suite.run(
        """
        import pytest
        def test_wrong():
            with pytest.raises(op.SettingError, match="did you mean exit_timeout"):
                op.setup(exit_timeot=1)
        """
    ).assert_outcomes(passed=1)


def test_what_the_fixture_records(suite: Suite) -> None:
    """Runs, stages, records, datasets, checks, errors; each test its own, also where the code calls ``setup()``."""
    result = suite.run(
        """
        import pytest
        @pytest.mark.parametrize("n", [1000, 500])
        def test_records(pipelines, n):
            op.setup("orders", version=str(n))
            etl.main(n)
            run = pipelines.run("orders_etl")
            assert run.result == "success" and run == pipelines.run() == pipelines.runs[0]
            assert run.stage("extract").records.out == n
            assert run.stage("transform").records.out == run.records == n * 99 // 100
            assert run.stage("transform").records.failed == n // 100
            assert run.dataset("warehouse.orders", "write").records == n * 99 // 100
            assert run.check("not_null", "warehouse.orders").failed == 0
            assert {(e.type, e.keys) for e in run.record_errors} == {("ValueError", ("id",))}
            assert [stage.name for stage in run.stages] == ["extract", "transform", "load"]
        def test_failure(pipelines):
            with pytest.raises(KeyError):
                with op.pipeline("broken"), op.stage("load"):
                    {}["x"]
            run = pipelines.run("broken")
            assert (run.result, run.error_type, run.error_stage) == ("failure", "KeyError", "load")
            assert run.stage("load").result == "failure"
        def test_a_stage_outside_of_runs(pipelines):
            list(etl.extract(3))
            assert pipelines.stage("extract").records.out == 3 and pipelines.runs == ()
        def test_nothing(pipelines):
            assert pipelines.runs == pipelines.stages == () and pipelines.told() == "nothing was recorded"
        """
    )
    result.assert_outcomes(passed=5)
    assert suite.kept() == []


def test_failures_say_what_there_was(suite: Suite) -> None:
    """The error of a missing run, and the report of any failing test, list what was recorded."""
    result = suite.run(
        """
        def test_missing(pipelines):
            etl.main()
            pipelines.run("orders")
        def test_twice(pipelines):
            etl.main(); etl.main()
            pipelines.run("orders_etl")
        def test_missing_stage(pipelines):
            etl.main()
            pipelines.run().stage("lod")
        def test_figure(pipelines):
            etl.main()
            assert pipelines.run().stage("transform").records.out == 991
        def test_open(pipelines):
            with op.pipeline("nightly"), op.stage("load"):
                pipelines.run("nightly")
        """
    )
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: want one run 'orders', got 0; there was:",
            "E*run orders_etl: success",
            "E*  stage transform: success; records in 1000, out 990, failed 10",
            "E*    dataset warehouse.orders: operation write, records 990",
            "*AssertionError: want one run 'orders_etl', got 2; there was:",
            "*AssertionError: want one stage 'lod', got 0; there was:",
            "*assert 990 == 991",
            "*Recorded pipelines*",
            "run orders_etl: success",
            "*AssertionError: want one run 'nightly', got 0; there was:",
            "E*still open: run nightly, stages load",
        ]
    )


def test_what_is_left_open_does_not_reach_the_next_test(suite: Suite) -> None:
    """Generators that are held, dropped or abandoned in the middle of a ``with``; each test sees only its own."""
    suite.run(
        """
        import gc
        held = []
        def test_held(pipelines):
            rows = etl.extract(10); next(rows); held.append(rows)
            with op.pipeline("held"):
                other = etl.extract(5); next(other); held.append(other)
            assert pipelines.run("held").stage("extract").exhausted is False
        def test_dropped(pipelines):
            assert pipelines.stages == ()
            next(etl.extract(10))
            assert pipelines.stage("extract").records.out == 1
        def in_a_run():
            with op.pipeline("abandoned"):
                yield 1
        def test_left_in_a_run(pipelines):
            rows = in_a_run(); next(rows); held.append(rows)
            assert "still open: run abandoned" in pipelines.told()
        def test_below_nothing(pipelines):
            with op.pipeline("after") as run:
                assert run.parent_id is None
            held.clear(); gc.collect()
            assert [run.pipeline for run in pipelines.runs] == ["after"]
        """
    ).assert_outcomes(passed=4)


def test_async_code_and_threads(suite: Suite) -> None:
    """Coroutines and async generators, tasks, threads and pools: all of it is below the run."""
    suite.run(
        """
        import asyncio, threading
        from concurrent.futures import ThreadPoolExecutor
        @op.stage
        async def fetch(n):
            for row in range(n):
                await asyncio.sleep(0)
                yield row
        @op.stage
        async def store(rows):
            async for row in rows:
                pass
        @op.pipeline("news")
        async def crawl():
            await asyncio.gather(*(store(fetch(n)) for n in (3, 4)))
        def test_async(pipelines):
            asyncio.run(crawl())
            run = pipelines.run("news")
            assert sorted(stage.records.out for stage in run.stages if stage.name == "fetch") == [3, 4]
            assert len(run.stages) == 4
        def test_threads(pipelines):
            def part(n):
                with op.stage("part") as stage:
                    stage.add(records_out=n)
            with op.pipeline("parts"), ThreadPoolExecutor() as pool:
                list(pool.map(part, range(4)))
                thread = threading.Thread(target=part, args=(9,)); thread.start(); thread.join()
            assert sorted(stage.records.out for stage in pipelines.run("parts").stages) == [0, 1, 2, 3, 9]
        """
    ).assert_outcomes(passed=2)


def test_with_xdist(suite: Suite) -> None:
    """Each worker is off, and records what its tests ask for."""
    result = suite.run(
        """
        import pytest
        @pytest.mark.parametrize("n", range(8))
        def test_records(pipelines, n):
            etl.main(n)
            assert pipelines.run().stage("extract").records.out == n
        @pytest.mark.parametrize("n", range(4))
        def test_off(n):
            etl.main(n)
        """,
        *("-n", "2"),
    )
    result.assert_outcomes(passed=12)
    assert suite.kept() == []


@pytest.mark.parametrize("how", ["option", "ini", "marker", "environment"])
def test_asked_for_it_is_on(suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Then it is as in production: what ends is in the queue; and with the fixture it is not."""
    if how == "ini":
        pytester.makeini("[pytest]\notel_pipeline = true\n")
    if how == "environment":
        monkeypatch.setenv("OTEL_PIPELINE_TESTS", "on")
    result = suite.run(
        f"""
        import pytest
        def test_recorded(pipelines):
            with op.pipeline("in memory"):
                pass
            assert pipelines.run("in memory")
        {"@pytest.mark.otel_pipeline" if how == "marker" else ""}
        def test_real():
            op.setup("orders", version="1")
            with op.pipeline("on disk"):
                pass
        def test_later(pipelines):
            with op.pipeline("in memory"):
                pass
            assert pipelines.run("in memory")
        def test_unmarked():
            with op.pipeline("{"unmarked" if how == "marker" else "on disk"}"):
                pass
        """,
        *(["--otel-pipeline"] if how == "option" else []),
        "--strict-markers",
    )
    result.assert_outcomes(passed=4)
    stored = b"".join(path.read_bytes() for path in suite.kept())
    assert b"run on disk" in stored
    assert b"in memory" not in stored
    assert b"unmarked" not in stored


def test_under_a_launcher(suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest that is launched with telemetry keeps its tests' pipelines and counters out of it all the same."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    launch = "from otel_pipeline.sdk.setup import launch; launch()\n"
    pytester.makepyfile(started=launch + "import sys, pytest; sys.exit(pytest.main(['-q', 'test_etl.py']))")
    test = """
        counter = op.counter("orders.paid")
        def test_off():
            etl.main(); counter.add(3)
        def test_on(pipelines):
            etl.main(); counter.add(4)
            assert pipelines.run("orders_etl") and pipelines.value("orders.paid") == 4
        """
    suite.run(test)
    result = pytester.runpython("started.py")
    result.assert_outcomes(passed=2)
    stored = b"".join(path.read_bytes() for path in suite.kept())
    assert b"service.name" in stored
    assert b"orders_etl" not in stored
    assert b"orders.paid" not in stored


def test_nothing_is_loaded_until_it_is_asked_for(suite: Suite) -> None:
    """In test suites of those who merely have it installed: nothing of OpenTelemetry, and no module of ours but two."""
    suite._pytester.makepyfile(
        test_other="""
        import sys
        def test_other():
            ours = {name for name in sys.modules if name.startswith("otel_pipeline.")}
            assert not any(name.startswith("opentelemetry") for name in sys.modules)
            assert ours <= {"otel_pipeline." + n for n in ("config", "errors", "pytest_plugin", "settings", "version")}
        """
    )
    suite._pytester.runpytest_subprocess("test_other.py").assert_outcomes(passed=1)
