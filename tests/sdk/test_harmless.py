"""Telemetry never breaks the program that it watches: exit status, stdout and stderr are those without us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab

# A program with an end worth keeping.
PROGRAM = """
import logging, sys, otel_pipeline as op
{setup}
logging.getLogger().addHandler(logging.NullHandler())
@op.stage
def extract(): yield from range(3)
with op.pipeline("orders"):
    with op.stage("load") as stage:
        logging.getLogger("etl").warning("in")
        print(sum(stage.track(extract())), stage.records)
print("left", file=sys.stderr)
sys.exit(4)
"""
WANTED = (4, "3 {'in': 3}\n", "left\n")
EXPORTER = """
import threading
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
class Bad(SpanExporter):
    def export(self, items): act()
    def shutdown(self): act()
    def force_flush(self, timeout_millis=None): act()
handle = op.setup()
"""


def test_as_without_us(lab: Lab) -> None:
    """What the tests below compare with."""
    assert lab.run(PROGRAM.format(setup=""), sends=False) == WANTED
    assert lab.run(PROGRAM.format(setup="op.setup()")) == WANTED


def test_a_receiver_that_is_not_there(lab: Lab) -> None:
    """One line says where the telemetry is."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    outcome = lab.run(PROGRAM.format(setup="op.setup()"), env=env)
    lines = outcome.err.splitlines()
    assert (outcome.code, outcome.out) == WANTED[:2]
    assert "left" in lines
    assert len(lines) <= 2


def test_a_receiver_that_never_answers_costs_the_exit_timeout(lab: Lab) -> None:
    """The program ends while the request still hangs: the receiver answers only after the test."""
    lab.receiver.silent = True
    outcome = lab.run(PROGRAM.format(setup="op.setup(exit_timeout=0.2)"))
    assert (outcome.code, outcome.out) == WANTED[:2]
    assert len(outcome.err.splitlines()) <= 2


def test_a_receiver_that_refuses(lab: Lab) -> None:
    """What it refuses for good is dropped, with a word at most."""
    lab.receiver.answers = 400
    outcome = lab.run(PROGRAM.format(setup="op.setup()"))
    assert (outcome.code, outcome.out) == WANTED[:2]
    assert len(outcome.err.splitlines()) <= 2


def test_an_exporter_that_hangs_at_the_end_costs_the_exit_timeout(lab: Lab) -> None:
    """One of the program's own choice, for which nobody else keeps a bound."""
    setup = EXPORTER.replace("op.setup()", "op.setup(exit_timeout=0.2)")
    setup += "def act(): threading.Event().wait()\n"
    setup += "from opentelemetry.sdk.trace.export import BatchSpanProcessor\n"
    setup += "handle.tracer_provider.add_span_processor(BatchSpanProcessor(Bad()))\n"
    assert lab.run(PROGRAM.format(setup=setup)) == WANTED


FAULTS = {
    "reading a span": "from otel_pipeline.sdk import processor; processor._read = bad; op.setup()",
    "counting": "from otel_pipeline.sdk.metrics import RunMetrics; RunMetrics.count = bad; op.setup()",
    "printing": "from otel_pipeline.sdk import setup; setup.print_summary = bad; op.setup(summary='always')",
    "telling the parent": """
from otel_pipeline.sdk.handover import Handover
for name in ("stage_started", "stage_ended", "run_started", "run_ended"): setattr(Handover, name, bad)
op.setup()
""",
    "flushing": "handle = op.setup(); handle.tracer_provider.force_flush = bad; assert not handle.flush(1)",
    "stopping": "handle = op.setup(); handle.meter_provider.shutdown = bad",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_ours_costs_a_figure(lab: Lab, fault: str) -> None:
    """One line at most, and the spans go out all the same."""
    setup = "def bad(*args, **kwargs): raise RuntimeError('fault')\n" + FAULTS[fault]
    env = {"OTEL_PIPELINE_HANDOVER": str(lab.folder), "OTEL_PIPELINE_RUN_ID": "1"}
    env["TRACEPARENT"] = f"00-{1:032x}-{2:016x}-01"
    outcome = lab.run(PROGRAM.format(setup=setup), env=env if fault == "telling the parent" else {})
    assert (outcome.code, outcome.out) == WANTED[:2], outcome
    assert len(outcome.err.splitlines()) <= 2
    assert lab.receiver.named("stage load")[0].attributes["pipeline.stage.result"] == "success"


def test_a_log_processor_that_raises(lab: Lab) -> None:
    """Neither in the program's log calls nor at the start and end of its runs."""
    setup = """
handle = op.setup()
from opentelemetry.sdk._logs import LogRecordProcessor
class Bad(LogRecordProcessor):
    def on_emit(self, record): raise RuntimeError("fault")
    def shutdown(self): raise RuntimeError("fault")
    def force_flush(self, timeout_millis=0): raise RuntimeError("fault")
handle.logger_provider.add_log_record_processor(Bad())
"""
    assert lab.run(PROGRAM.format(setup=setup)) == WANTED


def test_a_full_table_of_runs(lab: Lab) -> None:
    """Thousands of runs and stages that are open at once, more than any summary keeps."""
    receiver = lab.quiet(
        """
        import contextlib, otel_pipeline as op
        op.setup(summary="never", script_run=False)
        with contextlib.ExitStack() as stack:
            for number in range(300):
                stack.enter_context(op.pipeline("deep"))
                stack.enter_context(op.stage("load"))
        """
    )
    assert receiver.total("pipeline.run.ended") == 300
    assert len({span.id for span in receiver.named("stage load")}) == 300


def test_the_programs_random_numbers_are_its_own(lab: Lab) -> None:
    """A seeded program draws the same with and without us, and each of its runs has ids of its own."""
    text = """
    import random, sys
    random.seed(1)
    import logging, otel_pipeline as op
    logging.getLogger().addHandler(logging.NullHandler())
    if sys.argv[1:]:
        handle = op.setup(heartbeat_interval=0.01)
    from opentelemetry import trace
    drawn = []
    for number in range(40):
        drawn.append(random.random())
        with op.pipeline("orders"), op.stage("load") as stage:
            stage.add(records_out=1)
            logging.getLogger("etl").warning("x")
            with trace.get_tracer("theirs").start_as_current_span("theirs"): drawn.append(random.random())
        if sys.argv[1:] and number == 20: handle.flush(1)
    print(drawn)
    """
    without = lab.run(text, sends=False)
    assert lab.python("etl.py", "on") == without
    assert lab.python("etl.py", "on") == without
    runs = lab.receiver.named("run orders")
    assert len({run.trace for run in runs}) == len({run.attributes["pipeline.run.id"] for run in runs}) == 80
    lost = lab.python("etl.py", "on", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
                                           "OTEL_PIPELINE_QUEUE_DIR": str(lab.folder / "other")})  # fmt: skip
    assert (lost.code, lost.out) == without[:2]


def test_a_child_forked_while_we_import_can_import_as_well(lab: Lab) -> None:
    """A fork copies the lock of a module that another thread is importing, and nobody in the child gives it back."""
    lab.quiet(
        """
        import faulthandler, os, sys, threading, time
        import otel_pipeline as op
        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == "http.client" and threading.current_thread() is not threading.main_thread():
                    importing.set(); time.sleep(0.5)
        importing = threading.Event()
        sys.meta_path.insert(0, Slow())
        op.setup(script_run=False, instrument=False)
        with op.stage("load"): pass
        importing.wait(2)
        pid = os.fork()
        if not pid:
            # A child that hangs has to end for the test's sake.
            faulthandler.dump_traceback_later(5, exit=True, file=open(os.devnull, "w"))
            import http.client
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        # From 3.12 on a fork in a program with threads is deprecated, ours among them.
        env={"PYTHONWARNINGS": "ignore::DeprecationWarning"},
    )
