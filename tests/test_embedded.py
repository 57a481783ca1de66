"""Embedded mode: what processes without an endpoint leave on disk is counted by whoever reads, exactly once."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from otel_pipeline import embedded
from otel_pipeline.config import Settings
from otel_pipeline.embedded import drain, embedded_folder
from otel_pipeline.queue import Queue, QueueSettings, Signal
from otel_pipeline.queue.claim import Claim
from otel_pipeline.queue.folder import queue_files
from otel_pipeline.queue.format import pack_header
from otel_pipeline.store.errors import StoreError
from otel_pipeline.store.store import Store
from tests.kpi.test_otlp import RUN, STAGE, request

NOW = time.time_ns()
PROGRAM = Path(__file__).parent / "embedded_etl.py"
TIMEOUT = 120


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue" / "embedded"


def environment(folder: Path) -> dict[str, str]:
    """Of a process without an endpoint, and of its readers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return kept | {
        "OTEL_PIPELINE_QUEUE_DIR": str(folder.parent),
        "OTEL_PIPELINE_STORE": str(folder.parent.parent / "store.db"),
    }


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    main = "import sys; from otel_pipeline.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", main, *arguments],
        env=environment(folder), capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip


def written(folder: Path, *spans: dict[str, Any], signal_: Signal = Signal.TRACES, close: bool = True) -> Queue:
    """A queue with these spans, of a process that has ended unless not closed."""
    queue = Queue.open(QueueSettings(folder))
    for span in spans:
        queue.append(signal_, request({"start": NOW - 10, "end": NOW, **span}))
    if close:
        queue.close()
    return queue


def ended_runs(store: Store) -> float:
    with store.reading() as reader:
        return sum(figure.numbers[0] for figure in reader.figures(NOW) if figure.kpi.name == "pipeline.run.ended")


def test_queues_of_the_dead_and_the_living_are_counted_and_only_the_dead_ones_removed(
    tmp_path: Path, folder: Path, store: Store
) -> None:
    """What a living process appends later is counted by a later drain, and nothing twice."""
    written(folder, {"attributes": RUN}, {"attributes": STAGE, "span_id": b"stage001"})
    living = written(folder, {"attributes": RUN, "span_id": b"run00002"}, close=False)
    assert drain(folder, store).counted == {"runs": 2, "stages": 1}
    assert queue_files(folder) == living.paths()
    assert not drain(folder, store).counted
    living.append(Signal.TRACES, request({"attributes": RUN, "start": NOW, "end": NOW, "span_id": b"run00003"}))
    assert drain(folder, store).counted == {"runs": 1}
    living.close()
    drain(folder, store)
    assert not queue_files(folder)
    assert ended_runs(store) == 3


def test_a_queue_that_is_sent_is_not_read(folder: Path, store: Store) -> None:
    """It stands in the folder above, for its endpoint; the embedded queues stand in a folder of their own."""
    written(folder, {"attributes": RUN})
    written(folder.parent, {"attributes": RUN, "span_id": b"run00002"})
    assert drain(folder, store).counted == {"runs": 1}
    assert len(queue_files(folder.parent)) == 1
    assert embedded_folder(Settings(queue_dir=str(folder.parent))) == folder


def test_death_between_commit_and_acknowledgement_counts_nothing_twice(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is read again, and the ledger knows what is in it."""
    written(folder, {"attributes": RUN}, {"attributes": STAGE, "span_id": b"stage001"})
    with monkeypatch.context() as patched:
        patched.setattr(Claim, "acknowledge_all", lambda claim: (_ for _ in ()).throw(OSError("killed here")))
        with pytest.raises(OSError, match="killed here"):
            drain(folder, store)
    assert drain(folder, store).counted == {"repeated": 2}
    assert not queue_files(folder)
    assert ended_runs(store) == 1


def test_a_store_that_cannot_be_written_leaves_the_queues(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged that is not committed, and the next drain finds it."""
    written(folder, {"attributes": RUN})

    def full(values: object, now: object = None) -> None:
        raise StoreError("full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "write", full)
        with pytest.raises(StoreError):
            drain(folder, store)
    assert len(queue_files(folder)) == 1
    assert drain(folder, store).counted == {"runs": 1}


def test_what_is_no_otlp_is_set_aside_and_its_neighbours_are_counted(folder: Path, store: Store) -> None:
    """It is kept for people, with the reason, and stops nobody."""
    queue = written(folder, {"attributes": RUN}, close=False)
    queue.append(Signal.TRACES, b"\xff\xff\xff")
    queue.append(Signal.METRICS, b"\xff\xff", count=3)
    queue.append(Signal.TRACES, request({"attributes": RUN, "start": NOW, "end": NOW, "span_id": b"run00002"}))
    queue.close()
    drained = drain(folder, store)
    assert drained.counted == {"runs": 2}
    assert drained.left_out == {"refused": 4}
    assert not queue_files(folder)
    [aside] = folder.glob("*.rejected")
    assert b"ExportTraceServiceRequest" in aside.read_bytes()
    assert b"ExportMetricsServiceRequest" in aside.read_bytes()


def test_a_queue_of_a_later_format_is_left_to_that_version(folder: Path, store: Store) -> None:
    """It is counted as newer, and the others are drained."""
    written(folder, {"attributes": RUN})
    newer = folder / "0-1-a.000001.q"
    newer.write_bytes(pack_header(created=0, pid=1, version=99))
    drained = drain(folder, store)
    assert (drained.counted, drained.left_out) == ({"runs": 1}, {"newer": 1})
    assert newer.exists()


def test_many_queues_are_counted_in_several_transactions(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is bounded, in files and in bytes."""
    for number in range(7):
        written(folder, {"attributes": RUN, "span_id": f"run{number:05}".encode()})
    sizes: list[int] = []
    write = store.write

    def counting(values: Any) -> Any:
        sizes.append(len(values))
        return write(values)

    monkeypatch.setattr(embedded, "MOST_FILES", 3)
    monkeypatch.setattr(store, "write", counting)
    assert drain(folder, store).counted == {"runs": 7}
    assert sizes == [3, 3, 1]


def test_one_drains_at_a_time(folder: Path, store: Store) -> None:
    """Whoever does not get the lock in time says so, and reads what there is."""
    written(folder, {"attributes": RUN})
    with embedded._alone(folder, 0):
        assert drain(folder, store, wait_s=0).busy
    assert drain(folder, store).counted == {"runs": 1}


def test_without_a_queue_there_is_nothing_to_do(folder: Path, store: Store) -> None:
    """And no folder is made for it."""
    assert not drain(folder, store).counted
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_run_whose_process_died_is_closed_as_lost_and_one_that_lives_is_running(folder: Path, store: Store) -> None:
    """Its stages that had ended count. When it lives, it is there from its start, and its end arrives later."""
    start = [sys.executable, str(PROGRAM), "orders", "20"]
    subprocess.run([*start, "kill"], env=environment(folder), stdout=subprocess.PIPE, check=False, timeout=TIMEOUT)
    with subprocess.Popen(
        [*start, "wait"], env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as living:
        assert living.stdout is not None
        living.stdout.readline()
        while drain(folder, store).counted:  # until its stages have arrived
            time.sleep(0.05)
        with store.reading() as reader:
            found = {record.run.result if record.run else None for record in reader.last_runs("orders", 5)}
            assert found == {"lost", None}
        living.communicate("")
    drain(folder, store)
    with store.reading() as reader:
        assert [r.run.result if r.run else None for r in reader.last_runs("orders", 5)] == ["success", "lost"]


ENDS = ("success", "success", "failure", "kill", "success")


def truth(number: int) -> dict[str, Any]:
    """What ``runs --json`` must say of process ``number``, its id and times apart."""
    end, records = ENDS[number % len(ENDS)], number * 7 % 50
    failed = sum(1 for row in range(records) if row % 10 == 9)
    unknown = dict.fromkeys(("in", "out", "failed", "dropped", "duplicate"))
    stages = {
        "extract": ("success", {**unknown, "out": records}),
        "clean": ("success", {**unknown, "in": records, "out": records - failed, "failed": failed or None}),
        "load": (end, {**unknown, "in": records - failed}),
    }
    if end == "kill":
        del stages["load"]  # it has not ended
    result = "lost" if end == "kill" else end
    return {"pipeline": f"etl{number % 3}", "attempt": 1, "result": result, "stages": stages}


def seen_as(run: dict[str, Any]) -> dict[str, Any]:
    """The same of an object that was printed."""
    stages = {stage["name"]: (stage["result"], stage["records"]) for stage in run["stages"]}
    assert len(stages) == len(run["stages"])
    return {**{name: run[name] for name in ("pipeline", "attempt", "result")}, "stages": stages}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_hundred_processes_some_killed_and_readers_killed_meanwhile(tmp_path: Path, folder: Path) -> None:
    """`otel-pipeline runs --json` is exactly the truth: runs, results, and records of each stage."""

    def process(number: int) -> str:
        expected = truth(number)
        arguments = [sys.executable, str(PROGRAM), expected["pipeline"], str(number * 7 % 50), ENDS[number % len(ENDS)]]
        done = subprocess.run(
            arguments, env=environment(folder), capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        return done.stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(process, number) for number in range(100)]
        killed_readers = 0
        while not all(each.done() for each in started):
            reader = subprocess.Popen(
                [sys.executable, "-c", "from otel_pipeline.cli import main; main(['runs', '--json'])"],
                env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            # From within its imports to after its last commit.
            time.sleep(0.6 + 0.05 * (killed_readers % 20))
            reader.send_signal(signal.SIGKILL)
            killed_readers += reader.wait() == -signal.SIGKILL
            time.sleep(1)
    expected = {each.result(): truth(number) for number, each in enumerate(started)}
    done = command(folder, "runs", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    runs = json.loads(done.stdout)
    assert {run["run_id"]: seen_as(run) for run in runs} == expected
    assert len(runs) == 100
    for run in runs:
        assert run["duration"] >= 0
        assert run["ended"] >= run["started"]
    assert not queue_files(folder)
    table = command(folder, "stats", "pipeline_runs_total", "--json").stdout
    totals = {(each["labels"]["dag_id"], each["labels"]["status"]): each["value"] for each in json.loads(table)}
    for (dag, status), value in totals.items():
        good = status == "success"
        assert value == sum(e["pipeline"] == dag and (e["result"] == "success") is good for e in expected.values())


def test_runs_without_the_extra_says_what_to_install(folder: Path) -> None:
    """In one line, with status 2."""
    program = (
        "import sys; sys.modules['sqlalchemy'] = None\nfrom otel_pipeline.cli import main\nsys.exit(main(['runs']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "otel-pipeline runs: the local store needs sqlalchemy: pip install 'otel-pipeline[server]'"
    ]


def test_a_damaged_store_is_one_line_and_status_2(folder: Path) -> None:
    """It names the file and the way out."""
    path = folder.parent.parent / "store.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no database" * 200)
    done = command(folder, "runs")
    assert (done.returncode, done.stdout) == (2, "")
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_show_and_stats_from_the_queue(folder: Path) -> None:
    """What waits is brought in first; a beginning of a run id is enough; unknown names are status 1 and one line."""
    run = {**RUN, "pipeline.run.id": "0193-aaaa", "pipeline.run.result": "success"}
    later = {**RUN, "pipeline.run.id": "0194-bbbb"}
    written(
        folder, {"attributes": run}, {"attributes": later, "span_id": b"run00002", "start": NOW - 5},
        {"attributes": {**STAGE, "pipeline.run.id": "0194-bbbb", "pipeline.records.out": 5}, "span_id": b"stage001"},
    )  # fmt: skip
    shown = json.loads(command(folder, "show", "last", "--json").stdout)
    assert (shown["run_id"], shown["result"], shown["last_good"]["run_id"]) == ("0194-bbbb", "failure", "0193-aaaa")
    assert shown["stages"][0]["records"]["out"] == 5
    text = command(folder, "show", "0194")
    assert "Against the last good run" in text.stdout
    assert "\x1b" not in text.stdout
    ambiguous = command(folder, "show", "019")
    assert (ambiguous.returncode, len(ambiguous.stderr.splitlines())) == (1, 1)
    [statistic] = json.loads(command(folder, "stats", "pipeline.stage.records", "--window", "1d", "--json").stdout)
    assert (statistic["labels"]["pipeline_record_status"], statistic["p95"], statistic["value"]) == ("out", 5, 5)
    unknown = command(folder, "stats", "pipeline.stage.record")
    assert unknown.returncode == 1
    assert "did you mean pipeline_stage_records_total" in unknown.stderr
    assert command(folder, "stats", "pipeline_runs_total", "--window", "soon").returncode == 2


def test_encodings_of_pipes(folder: Path) -> None:
    """In a pipe that takes ASCII alone the signs are ASCII, and nothing fails."""
    written(folder, {"attributes": RUN})
    main = "import sys; from otel_pipeline.cli import main; sys.exit(main(['runs']))"
    done = subprocess.run(
        [sys.executable, "-c", main],
        env=environment(folder) | {"PYTHONIOENCODING": "ascii"},
        capture_output=True, check=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert io.BytesIO(done.stdout).read().decode("ascii").count("x failure") == 1
