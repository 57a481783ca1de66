"""Real processes: killed, forked, out of disk, without rights, against servers that are silent, failing or real."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from queue_fakes import FakeTransport, http_server, left, names, orphan, sender, span_bytes

from otel_pipeline.queue import Queue, QueueSettings, Signal, inspect

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = int(os.environ.get("OTEL_PIPELINE_TEST_KILLS", "50"))
linux = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

HEAD = """
import os, signal, sys, time
from pathlib import Path
from otel_pipeline.queue import *
from otel_pipeline.queue.processors import DurableSpanProcessor
from opentelemetry.sdk.trace import TracerProvider
folder = Path(sys.argv[1])
queue = Queue.open(QueueSettings(folder, segment_bytes=16384), warn=lambda m: print("warn", m, flush=True))
"""
SPANS = (
    HEAD
    + """
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(DurableSpanProcessor(queue, at_once=lambda span: True))
tracer = provider.get_tracer("otel_pipeline")
number = 0
while True:
    tracer.start_span(f"s{number}", attributes={"n": number}).end()
    os.write(1, b"%d\\n" % number)
    number += 1
"""
)


def script(code: str, *arguments: object, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    # Elsewhere than in the checkout, so that the package is the one that pytest runs with.
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent, **options)  # type: ignore[call-overload, no-any-return]


def run(code: str, *arguments: object, **options: object) -> list[str]:
    process = script(code, *arguments, **options)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.decode().splitlines()


@linux
def test_no_ended_span_is_lost_by_a_kill(tmp_path: Path) -> None:
    """After every SIGKILL, at times spread down to microseconds after an append, the queue holds each span said to end.

    One more may be there: the one that ended while the process had no time left to say so.
    """
    chance = random.Random(7)
    for number in range(KILLS):
        folder = tmp_path / str(number)
        process = script(SPANS, folder)
        assert process.stdout
        process.stdout.readline()
        # A third right behind the first append, the others across many appends and rotations.
        time.sleep(chance.uniform(0, 0.0005 if number % 3 == 0 else 0.03))
        process.send_signal(signal.SIGKILL)
        said = [0, *(int(line) for line in process.stdout.read().split(b"\n") if line)]
        process.wait()
        process.stdout.close()
        found = names(*(record.payload for record in left(folder)))
        assert found[: len(said)] == [f"s{n}" for n in said if n <= said[-1]]
        assert len(found) - len(said) in (0, 1)
        assert len(found) == len(set(found))


@linux
def test_kills_of_drainers_lose_nothing_and_repeat_one_request_at_most(tmp_path: Path) -> None:
    """A drainer killed again and again at its work: everything arrives, and a kill repeats one request at most."""
    for number in range(2):
        orphan(tmp_path / "q", [f"{number}-{part}" for part in range(200)])
    drain = (
        HEAD.replace("queue = Queue", "_ = Queue")
        + """
settings = SenderSettings(endpoint=sys.argv[2], max_request_bytes=1000)
print("up", flush=True)
Sender(Queue(QueueSettings(folder)), settings).drain(60)
"""
    )
    chance, kills = random.Random(3), 0
    with http_server() as (url, seen):
        while left(tmp_path / "q") and kills < 200:
            process = script(drain, tmp_path / "q", url)
            assert process.stdout
            process.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.06))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            kills += 1
    found = [name for _, _, body in seen for name in names(body)]
    largest = max(len(names(body)) for _, _, body in seen)
    assert set(found) == {f"{number}-{part}" for number in range(2) for part in range(200)}
    assert len(found) - len(set(found)) <= kills * largest


@linux
def test_a_forked_child_writes_its_own_file(tmp_path: Path) -> None:
    """Parent and child share no file; the child's records go out with the parent's sender once the child has ended."""
    queue = Queue.open(QueueSettings(tmp_path))
    queue.append(Signal.TRACES, span_bytes("parent"))
    pid = os.fork()
    if pid == 0:
        queue.append(Signal.TRACES, span_bytes("child"))
        os._exit(0 if queue.counts.total("appended") == 1 and len(queue.paths()) == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(list(tmp_path.glob("*.q"))) == 2
    transport = FakeTransport()
    sending = sender(tmp_path, transport, queue=queue)
    assert sending.stop(30.0)
    assert sorted(names(*(body for _, body in transport.sent))) == ["child", "parent"]
    assert left(tmp_path) == []


@linux
def test_a_child_that_says_nothing_holds_no_lock_of_its_parent(tmp_path: Path) -> None:
    """The parent dies, a silent child lives on: the parent's queue is free at once."""
    code = (
        HEAD
        + """
queue.append(Signal.TRACES, b"x")
pid = os.fork()
if pid == 0:
    os.close(1)
    time.sleep(60)
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    process = script(code, tmp_path)
    assert process.stdout
    child = int(process.stdout.readline())
    process.stdout.read()  # until the child, too, has closed it
    process.wait()
    process.stdout.close()
    try:
        assert [file.state for file in inspect.list_files(tmp_path)] == [inspect.FileState.ORPHAN]
    finally:
        os.kill(child, signal.SIGKILL)


@linux
def test_a_sender_works_on_in_forked_children(tmp_path: Path) -> None:
    """A pre-forked worker's sender starts with its first record, also when the fork hit the parent sending."""
    code = (
        HEAD
        + """
sender = Sender(queue, SenderSettings(endpoint=sys.argv[2]))
sender.start()
for number in range(5):
    queue.append(Signal.TRACES, sys.argv[3].encode("latin-1"))
    pid = os.fork()
    if pid == 0:
        queue.append(Signal.TRACES, sys.argv[4].encode("latin-1"))
        os._exit(0 if sender.flush(30) else 1)
    assert os.waitpid(pid, 0)[1] == 0
assert sender.stop(30)
"""
    )
    payloads = [span_bytes(name).decode("latin-1") for name in ("P", "C")]
    path = tmp_path / "payloads.json"
    path.write_text(json.dumps(payloads))
    code = code.replace("sys.argv[3]", "PAYLOADS[0]").replace("sys.argv[4]", "PAYLOADS[1]")
    code = f"import json, pathlib\nPAYLOADS = json.loads(pathlib.Path({str(path)!r}).read_text())\n" + code
    with http_server() as (url, seen):
        assert run(code, tmp_path / "q", url) == []
    assert sorted(name for _, _, body in seen for name in names(body)) == ["C"] * 5 + ["P"] * 5
    assert left(tmp_path / "q") == []


@linux
def test_a_file_size_limit_tears_nothing(tmp_path: Path) -> None:
    """A write that is cut short (here by RLIMIT_FSIZE) is taken back; later records are dropped, counted, said once."""
    code = (
        HEAD
        + """
stored = [queue.append(Signal.TRACES, bytes(900)) for _ in range(12)]
assert stored == [True] * 5 + [False] * 7, stored
print(queue.counts.total("dropped"))
"""
    )
    output = run(code, tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)))
    assert [line.split()[0] for line in output] == ["warn", "7"]
    assert "File too large" in output[0]
    assert len(left(tmp_path)) == 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if (
        not hasattr(os, "geteuid")
        or os.geteuid() != 0
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("cannot mount a tmpfs here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_drops_the_oldest(small_disk: Path) -> None:
    """ENOSPC: whole old segments make room for new records, counted; the file stays readable to its last record."""
    queue = Queue.open(QueueSettings(small_disk, segment_bytes=20_000))
    for number in range(600):
        queue.append(Signal.TRACES, b"%04d" % number + bytes(996))
    dropped = queue.counts.total("dropped")
    queue.close()
    kept = [int(record.payload[:4]) for record in left(small_disk)]
    assert kept[-1] == 599
    assert kept == sorted(kept)
    assert len(kept) + dropped == 600
    assert 100 < len(kept) < 256


def test_a_full_disk_with_nothing_to_drop_drops_the_new(small_disk: Path) -> None:
    """Others fill the disk: new records are counted and said once, and storing goes on when there is room again."""
    queue = Queue.open(QueueSettings(small_disk), warn=(said := []).append)
    queue.append(Signal.TRACES, b"first")
    (small_disk / "others").write_bytes(bytes(200_000))
    while queue.append(Signal.TRACES, bytes(1000)):
        pass
    assert not queue.append(Signal.TRACES, bytes(1000))
    assert len(said) == 1
    assert "No space left" in said[0]
    (small_disk / "others").unlink()
    assert queue.append(Signal.TRACES, b"last")
    queue.close()
    assert left(small_disk)[-1].payload == b"last"


@linux
def test_a_folder_without_rights_costs_the_records_only(tmp_path: Path) -> None:
    """As an ordinary user in a folder of someone else's: dropped, counted, said once, and the pipeline runs on."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    tmp_path.chmod(0o755)
    foreign = tmp_path / "q"
    foreign.mkdir(mode=0o755)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        said: list[str] = []
        queue = Queue.open(QueueSettings(foreign), warn=said.append)
        stored = [queue.append(Signal.TRACES, b"x") for _ in range(3)]
        os.write(writer, json.dumps([stored, queue.counts.total("dropped"), said]).encode())
        os._exit(0)
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0
    stored, dropped, said = json.loads(os.read(reader, 65536))
    os.close(reader)
    assert (stored, dropped, len(said)) == ([False] * 3, 3, 1)
    assert "Permission denied" in said[0]


EXIT = (
    HEAD
    + """
import atexit
sender = Sender(queue, SenderSettings(endpoint=sys.argv[2], exit_timeout_s=float(sys.argv[3])))
atexit.register(lambda: print(sender.stop()))
sender.start()
for number in range(2000):
    queue.append(Signal.TRACES, b"")
time.sleep(float(sys.argv[4]))
"""
)


@pytest.mark.parametrize("timeout", [0, 0.3])
@pytest.mark.parametrize("running", [0, 1.2])
def test_a_black_hole_costs_an_exit_its_timeout(tmp_path: Path, timeout: float, running: float) -> None:
    """A receiver that takes connections and is silent: the process ends, and everything stays in the queue."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert run(EXIT, tmp_path, url, timeout, running) == ["False"]
    assert len(left(tmp_path)) == 2000


def test_a_refusing_receiver_keeps_everything_in_the_queue(tmp_path: Path) -> None:
    """Nobody listens at exit: nothing is waited for, nothing lost."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        assert run(EXIT, tmp_path, f"http://127.0.0.1:{held.getsockname()[1]}", 600, 0) == ["False"]
    assert len(left(tmp_path)) == 2000


def test_a_receiver_that_recovers_gets_everything_once(tmp_path: Path) -> None:
    """503, then 200: what the first process left, the next delivers, without a repeat."""
    code = EXIT.replace('b""', "PAYLOAD % number").replace("range(2000)", "range(20)")
    code = "PAYLOAD = b'\\x12\\x02%02d'\n" + code  # an unknown field, two digits to tell them apart
    with http_server([(503, {}, b"")]) as (url, seen):
        assert run(code, tmp_path, url, 30, 0) == ["False"]
        assert len(seen) == 1
        assert run(EXIT.replace("range(2000)", "range(1)"), tmp_path, url, 30, 0) == ["True"]
    delivered = b"".join(body for _, _, body in seen[1:])
    assert delivered == b"".join(b"\x12\x02%02d" % number for number in range(20))
    assert left(tmp_path) == []


def test_importing_and_storing_loads_nothing_heavy(tmp_path: Path) -> None:
    """A process that stores but does not send never loads protobuf, HTTP, TLS or gRPC."""
    code = (
        HEAD
        + """
import otel_pipeline.queue.exporters, otel_pipeline.queue.inspect
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from otel_pipeline.queue.exporters import DurableMetricExporter
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(DurableSpanProcessor(queue, at_once=lambda span: False))
provider.get_tracer("x").start_span("s").end()
provider.shutdown()
meters = MeterProvider([PeriodicExportingMetricReader(DurableMetricExporter(queue))], shutdown_on_exit=False)
meters.get_meter("x").create_counter("c").add(1)
meters.shutdown()
assert queue.counts.total("appended") == 2
print(*sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[2].split())))
"""
    )
    heavy = "google grpc http ssl requests urllib3 sqlalchemy numpy sqlite3 asyncio"
    assert run(code, tmp_path, heavy) == [""]
