"""What a command's processes tell the parent, whatever happens to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from otel_pipeline.model import Check, Dataset, Operation, RecordError, Records, Run, Stage
from otel_pipeline.sdk.handover import Handover, Report, read
from tests.run.conftest import PYTHON, TIMEOUT

STAGE = Stage(
    trace_id="a" * 32,
    span_id="b" * 16,
    name="load",
    result="failure",
    started=1_000,
    ended=2_000,
    self_time=0.5,
    wait_time=0.25,
    run_id="r",
    pipeline="orders",
    kind="load",
    records=Records(in_=3, out=2, failed=1, dropped=0, duplicate=0, bytes=12),
    exhausted=True,
    late=True,
    upstream=("extract", "transform"),
    unaccounted=0,
    error_type="ValueError",
    error_message="line\u2028separator\nand newline \ud800",
    error_stage="load",
    backfill=True,
    datasets=(Dataset("orders", "write", 3, 12, "2026-01-01"),),
    checks=(Check("not_null", "orders", "schema", 2, 1),),
    record_errors=(RecordError("ValueError", "bad", "dict", ("id", "sum"), ("1", "***")),),
    operations=(Operation("insert", 3, 1, 0.5),),
)
RUN = Run(
    trace_id="a" * 32,
    span_id="c" * 16,
    run_id="r",
    pipeline="orders",
    result="failure",
    started=500,
    ended=3_000,
    self_time=0.1,
    attempt=2,
    backfill=True,
    error_type="ValueError",
    error_message="bad",
    error_stage="load",
    skip_reason="none",
    not_started=("archive",),
    open_stages=("load",),
)


def events(folder: Path) -> Path:
    """The file that the events are in."""
    return folder / "events.jsonl"


def test_everything_comes_back(tmp_path: Path) -> None:
    """Run, stage with all that it reports, exception, attributes and service are read as they were told."""
    handover = Handover(tmp_path)
    assert handover.claim()
    handover.service({"service_name": "etl", "version": "1.2", "environment": None})
    handover.run_started("orders", attempt=2, backfill=True)
    handover.stage_started(STAGE.span_id, "load")
    handover.stage_started("d" * 16, "archive")
    handover.stage_ended(STAGE)
    handover.run_ended(RUN, ("ValueError", "bad", "Traceback …"), {"day": "2026-01-01", "parts": ["a"]})
    report = read(tmp_path)
    assert all(getattr(STAGE, field.name) != field.default for field in fields(Stage)), "each field has a value here"
    assert report == Report(
        claimed=True,
        name="orders",
        attempt=2,
        backfill=True,
        run=RUN,
        exception=("ValueError", "bad", "Traceback …"),
        attributes=(("day", "2026-01-01"), ("parts", ["a"])),
        # A lone surrogate cannot be written as UTF-8; JSON's own escape keeps it.
        stages=(STAGE,),
        open_stages=("archive",),
        service=(("service_name", "etl"), ("version", "1.2")),
    )
    assert handover.failed == 0


def test_whose_service(tmp_path: Path) -> None:
    """The last word of the process that claimed the run, else the first of any."""
    other = {"event": "service", "process": 1, "settings": {"service_name": "other"}}
    events(tmp_path).write_text(json.dumps(other) + "\n")
    handover = Handover(tmp_path)
    handover.service({"service_name": "by the launcher"})
    handover.service({"service_name": "by setup()"})
    assert read(tmp_path).service == (("service_name", "other"),)
    handover.claim()
    assert read(tmp_path).service == (("service_name", "by setup()"),)


def test_nothing_told(tmp_path: Path) -> None:
    """A folder in which nobody wrote, or none, is an empty report."""
    assert read(tmp_path) == read(tmp_path / "gone") == Report()


def test_a_torn_last_line(tmp_path: Path) -> None:
    """A process that died while writing loses that line only."""
    handover = Handover(tmp_path)
    handover.run_started("orders")
    handover.stage_started(STAGE.span_id, "load")
    handover.stage_ended(STAGE)
    whole = events(tmp_path).read_bytes()
    for length in range(len(whole)):
        events(tmp_path).write_bytes(whole[:length])
        report = read(tmp_path)
        assert report.stages in ((), (STAGE,))
        assert report.open_stages in ((), ("load",))
    events(tmp_path).write_bytes(whole[:-20])
    assert (read(tmp_path).name, read(tmp_path).open_stages) == ("orders", ("load",))


def test_a_torn_line_in_the_middle(tmp_path: Path) -> None:
    """What another process writes after a torn line is read."""
    events(tmp_path).write_text('\n{"event":"run_started","na')
    Handover(tmp_path).stage_ended(STAGE)
    assert read(tmp_path).stages == (STAGE,)


@pytest.mark.parametrize(
    "line",
    ["[]", "1", "null", '{"event": 1}', '{"event": "stage_ended"}', '{"event": "stage_ended", "stage": {"name": "x"}}',
     '{"event": "run_ended", "run": [], "exception": null}', '{"event": "stage_started"}', '{"event": "later"}',
     '{"event": "run_ended", "run": {}, "exception": ["a"], "attributes": null}', '{"event": "service"}',
     '{"event": "run_started"}', '{"event": "run_started", "attempt": null}'],
)  # fmt: skip
def test_lines_of_another_shape(tmp_path: Path, line: str) -> None:
    """They are passed over."""
    Handover(tmp_path).stage_ended(STAGE)
    with events(tmp_path).open("a") as file:
        file.write(line + "\n")
    report = read(tmp_path)
    assert (report.stages, report.run, report.exception, report.attempt) == ((STAGE,), None, None, 1)


def test_another_versions_fields(tmp_path: Path) -> None:
    """A field that only the writer's version knows is left out; the value is read."""
    Handover(tmp_path).stage_ended(STAGE)
    event = json.loads(events(tmp_path).read_text())
    event["stage"]["colour"] = "blue"
    event["stage"]["records"]["colour"] = "blue"
    events(tmp_path).write_text(json.dumps(event))
    assert read(tmp_path).stages == (STAGE,)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A process that outlives the parent claims nothing and does not notice that nobody listens."""
    handover = Handover(tmp_path / "gone")
    assert handover.claim() is False
    handover.run_started("orders")
    handover.stage_ended(STAGE)
    handover.run_ended(RUN)
    assert handover.failed == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    """A write that fails is counted and not raised."""
    events(tmp_path).symlink_to("/dev/full")
    handover = Handover(tmp_path)
    handover.stage_ended(STAGE)
    assert handover.failed == 1


def test_values_that_json_does_not_know(tmp_path: Path) -> None:
    """An attribute of another type is told as text."""
    Handover(tmp_path).run_ended(RUN, None, {"where": Path("x"), "what": {1: 2}})
    assert dict(read(tmp_path).attributes) == {"where": "x", "what": {"1": 2}}


def test_the_number_of_stage_events_is_bounded(tmp_path: Path) -> None:
    """Beyond the limit stages are counted, not written; the run's end is still told."""
    handover = Handover(tmp_path, stage_events_limit=10)
    for _ in range(25):
        handover.stage_ended(STAGE)
    handover.run_ended(RUN)
    report = read(tmp_path)
    assert (len(report.stages), report.left_out, handover.left_out, report.run) == (10, 15, 15, RUN)


def test_one_of_eight_processes_claims(tmp_path: Path) -> None:
    """Of processes that begin at once, exactly one gets the run."""
    text = (
        "import sys; from otel_pipeline.sdk.handover import Handover; handover = Handover(sys.argv[1]);"
        "print('ready', flush=True); sys.stdin.readline(); print(handover.claim())"
    )
    processes = [
        subprocess.Popen(
            [*PYTHON, "-c", text, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
    answers = [process.communicate(timeout=TIMEOUT)[0].strip() for process in processes]
    assert sorted(answers) == ["False"] * 7 + ["True"]
    assert read(tmp_path).claimed


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    """Lines of processes that write at once do not mix."""
    text = (
        "import sys; from otel_pipeline.sdk.handover import Handover; handover = Handover(sys.argv[1]);"
        "[handover.stage_started(f'{sys.argv[2]}-{n}', 'x' * 5000) for n in range(500)];"
        "raise SystemExit(handover.failed)"
    )
    processes = [subprocess.Popen([*PYTHON, "-c", text, str(tmp_path), str(number)]) for number in range(4)]
    assert [process.wait(TIMEOUT) for process in processes] == [0] * 4
    assert len(read(tmp_path).open_stages) == 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forks_and_closed_descriptors(tmp_path: Path) -> None:
    """A forked child writes too; when every descriptor was closed, nothing goes into a file that the program opens."""
    text = """
import os, sys
from otel_pipeline.sdk.handover import Handover
handover = Handover(sys.argv[1])
handover.stage_started("1", "first")
if os.fork() == 0:
    os.closerange(3, 256)
    file = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
    handover.stage_started("2", "second")
    os._exit(os.fstat(file).st_size)
raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    users = tmp_path / "users"
    assert (
        subprocess.run([*PYTHON, "-c", text, str(tmp_path), str(users)], timeout=TIMEOUT, check=False).returncode == 0
    )
    assert read(tmp_path).open_stages == ("first", "second")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    """The files are 0600."""
    handover = Handover(tmp_path)
    handover.claim()
    handover.run_started("orders")
    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {"0o600"}
