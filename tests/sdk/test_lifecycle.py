"""Runs are visible before they end: log events at their start, and heartbeats while they last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_pipeline.declaration import Declaration, Expect, Slo, effective
from tests.sdk.conftest import ROOT

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab

STARTED, HEARTBEAT = "pipeline.run.started", "pipeline.run.heartbeat"
# A program that goes on until the test, having seen what it waits for, makes the file.
GO = """
import pathlib, time
def until_told():
    while not pathlib.Path("go").exists(): time.sleep(0.01)
"""


def test_a_run_is_announced_at_its_start(lab: Lab) -> None:
    """In its trace, on its span, with its name and id and an identity of the event."""
    receiver = lab.quiet("import otel_pipeline as op\nop.setup(script_run=False)\nwith op.pipeline('orders'): pass\n")
    (event,) = receiver.events(STARTED)
    run = receiver.one("run orders")
    assert (event.trace, event.span, event.scope) == (run.trace, run.id, "otel_pipeline")
    assert event.attributes["pipeline.name"] == "orders"
    assert event.attributes["pipeline.run.id"] == run.attributes["pipeline.run.id"]
    assert event.attributes["log.record.uid"]
    assert event.severity == "INFO"


def test_what_is_expected_travels_with_a_run(lab: Lab) -> None:
    """On its span and its events, with the interval of its heartbeats: who receives them needs no file."""
    receiver = lab.quiet(
        """
        import otel_pipeline as op
        op.setup(heartbeat_interval=7, script_run=False)
        @op.pipeline(schedule="0 2 * * * Europe/Berlin", expect=op.Expect(duration="<30m"), slo=op.Slo(errors="<1%"))
        def orders(): ...
        orders()
        with op.pipeline("plain", backfill=True): pass
        """
    )
    text = receiver.one("run orders").attributes["pipeline.declaration"]
    assert effective(text) == Declaration("0 2 * * * Europe/Berlin", Expect(duration="<30m"), Slo(errors="<1%"))
    started, plain = receiver.events(STARTED)
    assert started.attributes["pipeline.declaration"] == text
    assert started.attributes["pipeline.run.heartbeat.interval"] == 7.0
    assert started.attributes["pipeline.run.attempt"] == 1
    assert "pipeline.run.backfill" not in started.attributes
    assert plain.attributes["pipeline.run.backfill"] is True
    assert "pipeline.declaration" not in {*plain.attributes, *receiver.one("run plain").attributes}


def test_heartbeats_come_while_a_run_is_open_with_its_stages_and_records(lab: Lab) -> None:
    """Each is told apart by its uid; the open stages and their counts so far are in it."""
    lab.write(
        GO
        + """
import otel_pipeline as op
op.setup(heartbeat_interval=0.02, script_run=False)
with op.pipeline("orders"):
    with op.stage("extract"): pass
    with op.stage("load") as load:
        load.add(records_out=7, failed=1)
        with op.stage("insert"): until_told()
"""
    )
    process = lab.start("etl.py")
    lab.receiver.wait(lambda receiver: len(receiver.events(HEARTBEAT)) >= 4)
    lab.write("", "go")
    assert process.communicate() == ("", "")
    run = lab.receiver.one("run orders")
    beats = lab.receiver.events(HEARTBEAT)
    uids = [event.attributes["log.record.uid"] for event in beats + lab.receiver.events(STARTED)]
    assert len(set(uids)) == len(uids)
    # All that were sent while the stages were open: the first may have come before them, the last after.
    inside = [beat for beat in beats if len(beat.attributes.get("pipeline.run.stages.open", ())) == 2]
    assert inside
    for beat in inside:
        assert (beat.trace, beat.span) == (run.trace, run.id)
        assert beat.attributes["pipeline.run.stages.open"] == ["load", "insert"]
        assert beat.body == {
            "stages": [{"name": "load", "records": {"out": 7, "failed": 1}}, {"name": "insert", "records": {}}]
        }


def test_a_script_is_announced_and_beats_as_a_run_does(lab: Lab) -> None:
    """In the trace in which its span will be."""
    lab.write("import otel_pipeline as op\nop.setup(heartbeat_interval=0.02)\n" + GO + "until_told()")
    process = lab.start("etl.py")
    lab.receiver.wait(lambda receiver: len(receiver.events(HEARTBEAT)) >= 2)
    lab.write("", "go")
    assert process.communicate() == ("", "")
    run = lab.receiver.one("run etl")
    for event in lab.receiver.events(STARTED) + lab.receiver.events(HEARTBEAT):
        assert (event.trace, event.span) == (run.trace, run.id)
        assert event.attributes["pipeline.run.id"] == run.attributes["pipeline.run.id"]
    assert len(lab.receiver.events(STARTED)) == 1


def test_runs_side_by_side_beat_each(lab: Lab) -> None:
    """Under their own ids."""
    lab.write(
        GO
        + """
import otel_pipeline as op, threading
op.setup(heartbeat_interval=0.02, script_run=False)
def go(name):
    with op.pipeline(name): until_told()
threads = [threading.Thread(target=go, args=(name,)) for name in "abc"]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
"""
    )
    process = lab.start("etl.py")

    def each(receiver: object) -> bool:
        del receiver
        return {beat.attributes["pipeline.name"] for beat in lab.receiver.events(HEARTBEAT)} == set("abc")

    lab.receiver.wait(each)
    lab.write("", "go")
    assert process.communicate() == ("", "")
    ids = {run.attributes["pipeline.name"]: run.attributes["pipeline.run.id"] for run in lab.receiver.runs()}
    for beat in lab.receiver.events(HEARTBEAT):
        assert ids[beat.attributes["pipeline.name"]] == beat.attributes["pipeline.run.id"]


def test_no_heartbeats_by_setting(lab: Lab) -> None:
    """An interval of 0; and the thread is not there."""
    receiver = lab.quiet(
        """
        import threading, otel_pipeline as op
        op.setup(heartbeat_interval=0)
        with op.pipeline("orders"):
            assert not [thread for thread in threading.enumerate() if "heartbeat" in thread.name]
        """
    )
    assert receiver.events(HEARTBEAT) == []
    assert receiver.events(STARTED)


def test_the_heartbeat_keeps_no_process_alive(lab: Lab) -> None:
    """A program that ends while a run is open ends; the run is cut off."""
    receiver = lab.quiet(
        """
        import otel_pipeline as op
        op.setup(heartbeat_interval=3600, script_run=False)
        op.pipeline("orders").__enter__()
        """
    )
    assert receiver.one("run orders").attributes["pipeline.run.result"] == "cancellation"


def test_a_forked_child_beats_for_its_own_runs(lab: Lab) -> None:
    """And not for its parent's, which its parent does."""
    lab.write(
        GO
        + """
import os, sys, otel_pipeline as op
op.setup(heartbeat_interval=0.02, script_run=False)
with op.pipeline("parent"):
    pid = os.fork()
    if not pid:
        with op.pipeline("child"): until_told()
        sys.exit()
    os.waitpid(pid, 0)
"""
    )
    process = lab.start("-W", "ignore::DeprecationWarning", "etl.py")

    def both(receiver: object) -> bool:
        del receiver
        names = [beat.attributes["pipeline.name"] for beat in lab.receiver.events(HEARTBEAT)]
        return names.count("parent") >= 2 and names.count("child") >= 2

    lab.receiver.wait(both)
    lab.write("", "go")
    assert process.communicate() == ("", "")
    instances: dict[str, set[str]] = {"parent": set(), "child": set()}
    for beat in lab.receiver.events(HEARTBEAT):
        instances[beat.attributes["pipeline.name"]].add(beat.resource["service.instance.id"])
    assert all(len(found) == 1 for found in instances.values())
    uids = [beat.attributes["log.record.uid"] for beat in lab.receiver.events(HEARTBEAT)]
    assert len(set(uids)) == len(uids)
    assert lab.receiver.one("run child").attributes["pipeline.run.result"] == "success"
    assert lab.receiver.one("run parent").attributes["pipeline.run.result"] == "success"


def test_a_run_whose_span_the_parent_makes_beats_until_its_process_ends(lab: Lab) -> None:
    """Its pipeline has ended long ago; silence would have it closed as lost."""
    ends = "with op.pipeline('orders'): pass\nopen('ended', 'w').close()\nuntil_told()"
    lab.write("import otel_pipeline as op\nop.setup(heartbeat_interval=0.02)\n" + GO + ends)
    process = lab.start("-m", "tests.sdk.under_parent", "etl.py", env={"PYTHONPATH": str(ROOT)})
    while not (lab.folder / "ended").exists():
        assert process.poll() is None
    seen = len(lab.receiver.events(HEARTBEAT))
    lab.receiver.wait(lambda receiver: len(receiver.events(HEARTBEAT)) >= seen + 5)
    lab.write("", "go")
    process.communicate()
    run = lab.receiver.one("run orders")
    assert {event.span for event in lab.receiver.events(HEARTBEAT)} == {run.id}
