"""``setup()`` and its handle: once, from any thread, beside whatever the program has set."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab


def test_a_second_call_with_the_same_settings_returns_the_same_handle(lab: Lab) -> None:
    """Also one that says less than the first, and one from elsewhere; everything is there once."""
    receiver = lab.quiet(
        """
        import otel_pipeline as op
        handle = op.setup("orders", version="1", exit_timeout=60)
        assert op.setup("orders", version="1") is op.setup() is op.setup(exit_timeout=60.0) is handle
        assert isinstance(handle, op.Handle)
        with op.stage("load") as stage:
            stage.add(records_out=2)
        """
    )
    assert receiver.tree() == {"": ["run etl"], "run etl": ["stage load"]}
    assert receiver.total("pipeline.stage.records") == 2


def test_a_contradicting_call_is_an_error_that_quotes_both(lab: Lab) -> None:
    """Each telling what it wanted; the first call stays in force."""
    lab.quiet(
        """
        import otel_pipeline as op
        handle = op.setup("orders", version="1")
        for given in ({"service_name": "customers"}, {"version": "2"}, {"exit_timeout": 1}):
            try:
                op.setup(**given)
            except op.AlreadySetUpError as error:
                print(error)
        assert op.setup() is handle
        """
    )
    assert lab.python("etl.py").out.splitlines() == [
        "setup(service_name='customers'): this process is already set up with service_name='orders'; call setup() once",
        "setup(version='2'): this process is already set up with version='1'; call setup() once",
        "setup(exit_timeout=1.0): this process is already set up with exit_timeout=60.0; call setup() once",
    ]


def test_a_wrong_setting_leaves_the_process_as_it_was(lab: Lab) -> None:
    """The call raises before anything is set, so that a corrected one works."""
    receiver = lab.quiet(
        """
        import os, otel_pipeline as op
        from opentelemetry import trace
        for given in ({"exit_timeot": 1}, {"exit_timeout": "soon"}):
            try:
                op.setup(**given)
            except op.SettingError as error:
                print(error)
        os.environ["OTEL_TRACES_EXPORTER"] = "pigeon"
        try:
            op.setup()
        except op.SettingError as error:
            print(str(error).split(";")[0])
        del os.environ["OTEL_TRACES_EXPORTER"]
        op.setup("orders")
        with op.stage("load"): pass
        """
    )
    assert receiver.one("stage load").resource["service.name"] == "orders"
    assert lab.python("etl.py").out.splitlines() == [
        "exit_timeot=1: there is no such setting; did you mean exit_timeout?",
        "exit_timeout='soon': want a number of seconds from 0 up",
        "OTEL_TRACES_EXPORTER='pigeon': nothing provides it",
    ]


def test_threads_that_set_up_at_once_get_one_handle(lab: Lab) -> None:
    """One set of providers, one processor, one run."""
    receiver = lab.quiet(
        """
        import threading, otel_pipeline as op
        barrier, handles = threading.Barrier(8), []
        def go():
            barrier.wait()
            handles.append(op.setup("orders", script_run=False))
        threads = [threading.Thread(target=go) for _ in range(8)]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
        assert len(set(map(id, handles))) == 1 and len(handles) == 8
        with op.pipeline("orders"), op.stage("load") as stage: stage.add(records_out=1)
        """
    )
    assert receiver.tree() == {"": ["run orders"], "run orders": ["stage load"]}
    assert receiver.total("pipeline.stage.records") == receiver.total("pipeline.run.ended") == 1


def test_flush_sends_and_shutdown_ends_each_any_number_of_times(lab: Lab) -> None:
    """After ``flush`` the receiver has what has ended; after ``shutdown`` the run as well, and calls do nothing."""
    outcome = lab.run(
        """
        import otel_pipeline as op
        with op.setup("orders") as handle:
            with op.stage("one"): pass
            print(handle.flush(60), handle.flush(60))
            with op.stage("two"): pass
        handle.shutdown()
        handle.shutdown()
        handle.flush(1)
        with op.pipeline("late"), op.stage("late"):
            pass
        """
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "True True\n", "")
    receiver = lab.receiver
    assert receiver.tree()["run etl"] == ["stage one", "stage two"]


def test_an_exception_through_the_with_block_is_the_runs(lab: Lab) -> None:
    """``with setup():`` sees what ends it."""
    outcome = lab.run("import otel_pipeline as op\nwith op.setup():\n  raise ValueError('bad')\n")
    assert outcome.code == 1
    assert lab.receiver.one("run etl").attributes["error.type"] == "ValueError"


def test_setup_after_shutdown_is_a_clear_error(lab: Lab) -> None:
    """OpenTelemetry's providers are set once: silently sending nothing would be worse."""
    lab.quiet(
        """
        import otel_pipeline as op
        op.setup("orders").shutdown()
        try:
            op.setup("orders")
        except op.AlreadySetUpError as error:
            print(str(error).split(":")[0])
        """
    )
    assert lab.python("etl.py").out == "setup() after shutdown()\n"


OWN_PROVIDERS = """
from opentelemetry import trace, metrics, _logs
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
class Exporter(InMemorySpanExporter):
    stopped = 0
    def shutdown(self):
        Exporter.stopped += 1
        super().shutdown()
exporter, reader = Exporter(), InMemoryMetricReader()
traces, meters, logs = TracerProvider(), MeterProvider([reader]), LoggerProvider()
early = traces.get_tracer("early")
traces.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(traces); metrics.set_meter_provider(meters); _logs.set_logger_provider(logs)
"""


def test_providers_that_the_program_has_set_are_used_and_left_alone(lab: Lab) -> None:
    """Not replaced, not shut down; our spans and metrics go where theirs go, also for tracers made before."""
    lab.quiet(
        OWN_PROVIDERS
        + """
import otel_pipeline as op
handle = op.setup("orders")
assert (handle.tracer_provider, handle.meter_provider, handle.logger_provider) == (traces, meters, logs)
with op.pipeline("orders"), op.stage("load") as stage:
    stage.add(records_out=3)
    with early.start_as_current_span("early"): pass
handle.shutdown()
assert trace.get_tracer_provider() is traces and Exporter.stopped == 0
with early.start_as_current_span("after"): pass
print([span.name for span in exporter.get_finished_spans()])
ids = {span.context.span_id: span.name for span in exporter.get_finished_spans()}
print([ids.get(span.parent.span_id) for span in exporter.get_finished_spans()[:2]])
metrics_ = [m for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics]
print([point.value for m in metrics_ if m.name == "pipeline.stage.records" for point in m.data.data_points])
"""
    )
    assert lab.python("etl.py").out.splitlines() == [
        "['early', 'stage load', 'run orders', 'after']",
        "['stage load', 'run orders']",
        "[3]",
    ]
    assert lab.receiver.spans == []


def test_a_tracer_provider_of_the_programs_beside_our_logs_and_metrics(lab: Lab) -> None:
    """What is not set is made, in the same service as the one that is."""
    lab.quiet(
        """
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider(resource=Resource.create({"service.name": "theirs"})))
        import otel_pipeline as op
        op.setup()
        with op.stage("load") as stage: stage.add(records_out=1)
        """
    )
    assert lab.receiver.total("pipeline.stage.records") == 1


def test_runs_of_a_program_with_a_provider_of_its_own_are_kept(lab: Lab) -> None:
    """Without an endpoint: its spans go where it sends them, and runs end in `otel-pipeline runs` all the same."""
    lab.quiet(
        """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider())
        import otel_pipeline as op
        op.setup("orders", script_run=False)
        with op.pipeline("orders"), op.stage("load"), trace.get_tracer("theirs").start_as_current_span("inner"):
            pass
        """,
        sends=False,
    )
    stored = b"".join(path.read_bytes() for path in (lab.folder / "state").rglob("*.q"))
    assert [stored.count(name) for name in (b"pipeline.run.result", b"pipeline.stage.result", b"inner")] == [1, 1, 0]


def test_a_tracer_provider_that_is_not_the_sdks_makes_none_of_our_spans(lab: Lab) -> None:
    """It could not tell us how runs end: they are as without it, and what others trace stays there."""
    receiver = lab.quiet(
        """
        from opentelemetry import trace
        class Theirs(trace.TracerProvider):
            def get_tracer(self, *args, **more):
                return trace.NoOpTracer()
        theirs = Theirs()
        trace.set_tracer_provider(theirs)
        import otel_pipeline as op
        op.setup("orders", script_run=False)
        with op.pipeline("orders"), op.stage("load"):
            pass
        assert trace.get_tracer_provider() is theirs
        """
    )
    assert receiver.tree() == {"": ["run orders"], "run orders": ["stage load"]}
    assert receiver.total("pipeline.run.ended") == 1


def test_a_program_that_sets_providers_after_us_keeps_running(lab: Lab) -> None:
    """OpenTelemetry says that they are not replaced, and ours go on."""
    outcome = lab.run(
        "import otel_pipeline as op\nhandle = op.setup('orders')\n"
        + OWN_PROVIDERS
        + """
with op.stage("load"):
    with trace.get_tracer("mine").start_as_current_span("mine"): pass
assert trace.get_tracer_provider() is handle.tracer_provider
"""
    )
    assert outcome.code == 0
    assert all("Overriding of current" in line for line in outcome.err.splitlines())
    assert lab.receiver.tree() == {"": ["run etl"], "run etl": ["stage load"], "stage load": ["mine"]}


def test_disabled_by_opentelemetrys_switch(lab: Lab) -> None:
    """``OTEL_SDK_DISABLED=true``: nothing is sent or changed, and pipelines run as ever."""
    text = """
import logging, subprocess, sys, threading, otel_pipeline as op
before = logging.Logger.__dict__.get("filter"), subprocess.Popen.__init__, threading.Thread.start, sys.exit
if not sys.argv[1:]:
    handle = op.setup("orders")
    assert handle.tracer_provider is handle.meter_provider is handle.logger_provider is None
    assert op.setup("orders") is handle and handle.flush()
assert before == (logging.Logger.__dict__.get("filter"), subprocess.Popen.__init__, threading.Thread.start, sys.exit)
@op.stage
def extract(): yield from range(3)
with op.pipeline("orders") as run, op.stage("load") as stage:
    print(sum(stage.track(extract())), stage.records)
logging.warning("shown")
if not sys.argv[1:]: handle.shutdown()
"""
    for launched in (False, True):
        outcome = lab.run(text, *(["x"] if launched else []), launched=launched, env={"OTEL_SDK_DISABLED": "TRUE"})
        assert outcome == (0, "3 {'in': 3}\n", "WARNING:root:shown\n")
    assert not lab.receiver.spans + lab.receiver.logs + lab.receiver.points


def test_without_an_endpoint_nothing_is_sent_and_pipelines_run(lab: Lab) -> None:
    """And nothing is printed."""
    text = "import otel_pipeline as op\nop.setup('orders')\nwith op.pipeline('orders'), op.stage('load'): print('ok')\n"
    assert lab.run(text, sends=False) == (0, "ok\n", "")


def test_the_launcher_says_what_cannot_be_used_and_starts_the_program(lab: Lab) -> None:
    """One line each on stderr; a ``setup()`` in the script does not make it an error after all."""
    text = "import otel_pipeline as op\nif __import__('sys').argv[1:]: op.setup('orders')\nprint('ok')\n"
    env = {"OTEL_PIPELINE_EXIT_TIMOUT": "1", "OTEL_PIPELINE_SUMMARY": "loud"}
    for arguments in ((), ("setup",)):
        outcome = lab.run(text, *arguments, launched=True, env=env)
        assert (outcome.code, outcome.out) == (0, "ok\n")
        assert outcome.err.splitlines() == [
            "otel_pipeline: OTEL_PIPELINE_SUMMARY='loud': want one of auto, always, never; it is left out",
            "otel_pipeline: OTEL_PIPELINE_EXIT_TIMOUT is not a setting; did you mean OTEL_PIPELINE_EXIT_TIMEOUT?",
        ]
    assert [run.resource["service.name"] for run in lab.receiver.runs()] == ["etl", "orders"]


@pytest.mark.parametrize(
    "env", [{"OTEL_TRACES_EXPORTER": "pigeon"}, {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}], ids=["exporter", "timeout"]
)
def test_the_launcher_starts_the_program_also_where_nothing_can_be_sent(lab: Lab, env: dict[str, str]) -> None:
    """One line says why, without a traceback."""
    (name,) = env
    outcome = lab.run("print('ok')", launched=True, env=env)
    assert (outcome.code, outcome.out) == (0, "ok\n")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"otel_pipeline: nothing is recorded: {name}=")


def test_a_script_knows_better_than_the_launcher(lab: Lab) -> None:
    """What can still be taken is; what comes too late is said in a line; then a second call is a second call."""
    outcome = lab.run(
        """
        import otel_pipeline as op
        handle = op.setup("orders", name="nightly", heartbeat_interval=0.01, summary="never", endpoint="http://late:1")
        try:
            op.setup("customers")
        except op.AlreadySetUpError as error:
            print(error)
        """,
        launched=True,
        env={"OTEL_PIPELINE_HEARTBEAT_INTERVAL": "0"},
    )
    assert outcome.code == 0
    assert outcome.out.startswith("setup(service_name='customers'): this process is already set up with")
    assert outcome.err == (
        "otel_pipeline: setup(endpoint='http://late:1') comes after the launcher's "
        f"'{lab.receiver.url}' and is left out; set OTEL_EXPORTER_OTLP_ENDPOINT instead\n"
    )
    assert [run.name for run in lab.receiver.runs()] == ["run nightly"]


def test_instrumentations_may_be_left_out(lab: Lab) -> None:
    """By the setting, with ``setup()`` and under the launcher, and by OpenTelemetry's own variable."""
    text = "import sqlite3\nsqlite3.connect(':memory:').cursor().execute('create table t (a)')\n"
    for env in ({"OTEL_PIPELINE_INSTRUMENT": "false"}, {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "sqlite3"}):
        lab.quiet(text, launched=True, env=env)
        lab.quiet("import otel_pipeline as op\nop.setup()\n" + text, env=env)
    assert {span.name for span in lab.receiver.spans} == {"run etl"}


@pytest.mark.parametrize("way", ["launcher", "run"])
def test_a_script_may_say_where_to_when_its_launcher_was_not_told(lab: Lab, way: str) -> None:
    """All three signals go there, from the script and from its parent, as with setup() alone; nothing is said."""
    etl = lab.write(
        f"""
        import logging
        import otel_pipeline as op
        op.setup("orders", endpoint={lab.receiver.url!r}, exit_timeout=20)
        with op.pipeline("orders_etl"), op.stage("load") as load:
            load.add(records_out=7)
            logging.getLogger("etl").warning("loaded")
        """
    )
    cli = "import sys, otel_pipeline.cli; sys.exit(otel_pipeline.cli.main())"
    command = ["-c", cli, "run", "--quiet", "--", sys.executable, str(etl)]
    outcome = lab.python(*command, sends=False) if way == "run" else lab.python(str(etl), launched=True, sends=False)
    assert outcome == (0, "", "loaded\n")
    assert {span.name for span in lab.receiver.spans} == {"run orders_etl", "stage load"}
    assert len(lab.receiver.spans) == 2
    assert lab.receiver.total("pipeline.stage.records") == 7
    assert "loaded" in lab.receiver.messages()
