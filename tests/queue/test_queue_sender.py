"""Delivering: what is sent together, again, in parts or never; whose queues; and how long an exit may take."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from queue_fakes import Clock, FakeTransport, left, names, orphan, sender, span_bytes

from otel_pipeline.queue import Claim, Counts, Queue, QueueSettings, Sender, SenderSettings, Signal
from otel_pipeline.queue.format import pack_header
from otel_pipeline.queue.transport import Accepted, Rejected, Retry, TooLarge

if TYPE_CHECKING:
    from pathlib import Path


def filled(folder: Path, *spans: str) -> Queue:
    queue = Queue.open(QueueSettings(folder))
    for name in spans:
        queue.append(Signal.TRACES, span_bytes(name))
    return queue


def test_records_of_one_signal_are_sent_together(tmp_path: Path) -> None:
    """One request holds what fits, in order; each signal has its own."""
    queue = filled(tmp_path, "a", "b")
    queue.append(Signal.LOGS, b"")
    queue.append(Signal.TRACES, span_bytes("c"))
    transport = FakeTransport()
    sender(tmp_path, transport, queue=queue).step()
    assert [(signal, names(body)) for signal, body in transport.sent if signal is Signal.TRACES] == [
        (Signal.TRACES, ["a", "b", "c"])
    ]
    assert [signal for signal, _ in transport.sent] == [Signal.TRACES, Signal.LOGS]
    assert queue.counts.total("delivered") == 4
    queue.close()


def test_requests_are_bounded(tmp_path: Path) -> None:
    """No request is larger than the limit unless a single record is."""
    queue = filled(tmp_path, *"abcdef")
    size = len(span_bytes("a"))
    transport = FakeTransport()
    sender(tmp_path, transport, queue=queue, max_request_bytes=2 * size).step()
    assert [names(body) for _, body in transport.sent] == [["a", "b"], ["c", "d"], ["e", "f"]]
    queue.close()


def test_nothing_is_sent_twice(tmp_path: Path) -> None:
    """Later passes send only what came since."""
    queue = filled(tmp_path, "a")
    transport = FakeTransport()
    sending = sender(tmp_path, transport, queue=queue)
    sending.step()
    sending.step()
    queue.append(Signal.TRACES, span_bytes("b"))
    sending.step()
    assert [names(body) for _, body in transport.sent] == [["a"], ["b"]]
    queue.close()


def test_a_retry_waits_longer_each_time(tmp_path: Path) -> None:
    """Back-off doubles up to its bound and begins anew after a success."""
    queue = filled(tmp_path, "a")
    clock = Clock()
    transport = FakeTransport([Retry("503")] * 4)
    sending = sender(tmp_path, transport, clock, queue, backoff_max_s=5.0)
    waits = []
    for _ in range(4):
        waits.append(sending.step())
        clock.now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 5.0]
    sending.step()
    assert names(transport.sent[-1][1]) == ["a"]
    assert queue.counts.total("retries") == 4
    queue.append(Signal.TRACES, span_bytes("b"))
    transport.answers = [Retry("503")]
    assert sending.step() == 1.0
    queue.close()


def test_what_waits_is_not_read_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a receiver is down, its queue is read again when it may be tried again, or another signal has something."""
    queue, clock, transport = filled(tmp_path, "a"), Clock(), FakeTransport([Retry("503")])
    sending, read = sender(tmp_path, transport, clock, queue), []
    take = Claim.take.__func__  # type: ignore[attr-defined]

    def taken(cls: type[Claim], path: Path, counts: Counts, *, living: bool = True) -> Claim | None:
        claim: Claim | None = take(cls, path, counts, living=living)
        if claim is not None:
            read.append(path)
        return claim

    monkeypatch.setattr(Claim, "take", classmethod(taken))
    sending.step()
    for number in range(3):
        queue.append(Signal.TRACES, span_bytes(f"b{number}"))
        sending.step()
    assert len(read) == 1
    queue.append(Signal.LOGS, b"")
    sending.step()
    assert len(read) == 2
    assert [signal for signal, _ in transport.accepted] == [Signal.LOGS]
    clock.now += 1.0
    sending.step()
    assert names(transport.sent[-1][1]) == ["a", "b0", "b1", "b2"]
    queue.close()


def test_a_receiver_that_was_down_is_connected_to_before_anything_is_read(tmp_path: Path) -> None:
    """Each failure to connect waits longer, as a failure to send does; then all is sent."""

    class Down(FakeTransport):
        problems = (Retry("refused"), Retry("refused"), None)

        def reach(self, signal: Signal, timeout_s: float) -> Retry | None:
            """Tell the next problem."""
            problem, *rest = self.problems
            self.problems = tuple(rest)
            return problem

    queue, clock, transport = filled(tmp_path, "a"), Clock(), Down([Retry("refused")])
    sending, waits = sender(tmp_path, transport, clock, queue), []
    for _ in range(3):
        waits.append(sending.step())
        clock.now += waits[-1]
    assert waits == [1.0, 2.0, 4.0]
    assert len(transport.sent) == 1
    sending.step()
    assert names(transport.sent[-1][1]) == ["a"]
    assert left(tmp_path) == []
    queue.close()


def test_the_receiver_s_wait_is_honoured(tmp_path: Path) -> None:
    """Neither a pass nor a flush sends before the time that the receiver gave."""
    queue = filled(tmp_path, "a")
    clock = Clock()
    transport = FakeTransport([Retry("429", after_s=30.0)])
    sending = sender(tmp_path, transport, clock, queue)
    sending.step()
    clock.now += 29.0
    assert not sending.flush(0.05)
    assert len(transport.sent) == 1
    clock.now += 1.0
    assert sending.flush(30.0)
    assert len(transport.sent) == 2
    assert sending.stop()


def test_one_signal_s_trouble_delays_no_other(tmp_path: Path) -> None:
    """While traces have to wait, metrics and logs go out."""
    queue = filled(tmp_path, "a")
    queue.append(Signal.METRICS, b"")
    queue.append(Signal.LOGS, b"")
    transport = FakeTransport([Retry("503")])
    sender(tmp_path, transport, queue=queue).step()
    assert [signal for signal, _ in transport.accepted] == [Signal.METRICS, Signal.LOGS]
    assert [record.kind for record in left(tmp_path)] == [Signal.TRACES]
    queue.close()


def test_what_is_rejected_is_set_aside(tmp_path: Path) -> None:
    """A permanent error costs no later record; the rejected ones are kept apart, counted, and said once."""
    said: list[str] = []
    queue = filled(tmp_path, "a")
    transport = FakeTransport([Rejected("HTTP 400 Bad Request"), Rejected("HTTP 400 Bad Request")])
    sending = Sender(queue, SenderSettings(), connect=lambda _: transport, warn=said.append, clock=Clock())
    for name in "bc":
        sending.step()
        queue.append(Signal.TRACES, span_bytes(name))
    sending.step()
    assert names(*(body for _, body in transport.accepted)) == ["c"]
    assert queue.counts.total("rejected", Signal.TRACES) == 2
    assert len(list(tmp_path.glob("*.rejected"))) == 1
    assert len(said) == 1
    assert "HTTP 400 Bad Request" in said[0]
    queue.close()


def test_partial_success_is_counted_and_not_repeated(tmp_path: Path) -> None:
    """Items that the receiver dropped are its decision: counted, said, not sent again."""
    queue = filled(tmp_path, "a", "b", "c")
    transport = FakeTransport([Accepted(refused=2, message="too old")])
    sending = sender(tmp_path, transport, queue=queue)
    sending.step()
    sending.step()
    assert len(transport.sent) == 1
    assert (queue.counts.total("delivered"), queue.counts.total("refused")) == (1, 2)
    assert "too old" in queue.counts.last_error
    queue.close()


def test_too_large_requests_are_halved(tmp_path: Path) -> None:
    """Each record arrives once; one that is too large alone is set aside; the size found is kept."""
    queue = filled(tmp_path, *"abcd", "x" * 500, "e")

    class Small(FakeTransport):
        def send(self, signal: Signal, body: bytes, timeout_s: float) -> object:  # type: ignore[override]
            if len(body) > 200:
                self.sent.append((signal, body))
                return TooLarge("HTTP 413")
            return super().send(signal, body, timeout_s)

    transport = Small()
    sending = sender(tmp_path, transport, queue=queue)
    sending.step()
    assert names(*(body for _, body in transport.accepted)) == ["a", "b", "c", "d", "e"]
    assert queue.counts.total("rejected") == 1
    for name in "fghijklm":
        queue.append(Signal.TRACES, span_bytes(name))
    transport.sent.clear()
    sending.step()
    assert all(len(body) <= 200 for _, body in transport.sent)
    queue.close()


def test_unusable_settings_cost_no_data(tmp_path: Path) -> None:
    """A missing extra or a mistyped URL is an error that is said, not a loss."""
    queue = filled(tmp_path, "a")
    said: list[str] = []

    def connect(settings: SenderSettings) -> FakeTransport:
        raise ImportError("no module named grpc")

    Sender(queue, SenderSettings(), connect=connect, warn=said.append, clock=Clock()).step()
    assert len(left(tmp_path)) == 1
    assert "no module named grpc" in said[0]
    queue.close()


def test_a_raising_transport_is_a_retry(tmp_path: Path) -> None:
    """Whatever a transport raises, the records stay."""
    queue = filled(tmp_path, "a")
    sender(tmp_path, FakeTransport([RuntimeError("boom")]), queue=queue).step()
    assert len(left(tmp_path)) == 1
    queue.close()


def test_orphans_are_adopted_and_removed(tmp_path: Path) -> None:
    """What dead processes left goes out with the next process, files and all."""
    for number in range(3):
        orphan(tmp_path, [f"{number}a", f"{number}b"])
    transport = FakeTransport()
    sending = sender(tmp_path, transport)
    sending.step()
    assert sorted(names(*(body for _, body in transport.sent))) == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert [path.name for path in tmp_path.iterdir()] == ["swept"]


def test_living_processes_queues_are_theirs(tmp_path: Path) -> None:
    """A queue whose owner lives is not drained, unless asked to."""
    other = filled(tmp_path, "a")
    transport = FakeTransport()
    sending = sender(tmp_path, transport)
    sending.step()
    assert transport.sent == []
    assert sending.drain(5.0)
    assert transport.sent == []
    assert sending.drain(5.0, live=True)
    assert names(*(body for _, body in transport.sent)) == ["a"]
    assert other.paths()
    other.close()


def test_two_drains_at_once_deliver_once(tmp_path: Path) -> None:
    """However many drain the same folder, each record is sent by one of them."""
    for number in range(30):
        orphan(tmp_path, [f"{number}-{part}" for part in range(5)])
    transports = [FakeTransport() for _ in range(4)]
    threads = [threading.Thread(target=sender(tmp_path, transport).drain, args=(30.0,)) for transport in transports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = names(*(body for transport in transports for _, body in transport.sent))
    assert sorted(found) == sorted(f"{number}-{part}" for number in range(30) for part in range(5))
    assert left(tmp_path) == []


def test_a_drain_waits_for_a_receiver_that_recovers(tmp_path: Path) -> None:
    """`queue drain` tries again within its time, and reports what it could not do."""
    orphan(tmp_path, ["a"])
    transport = FakeTransport([Retry("refused")])
    sending = Sender(
        Queue(QueueSettings(tmp_path)), SenderSettings(backoff_s=0.01), connect=lambda _: transport, rng=lambda: 0.0
    )
    assert sending.drain(30.0)
    assert len(transport.sent) == 2
    orphan(tmp_path, ["b"])
    transport.answers = [Retry("refused")] * 1000
    assert not sending.drain(0.05)
    assert len(left(tmp_path)) == 1


def test_a_newer_file_is_reported_once(tmp_path: Path) -> None:
    """It stays, is counted and said once, and holds up nobody."""
    (tmp_path / "0.000001.q").write_bytes(pack_header(created=1, pid=1, version=9))
    orphan(tmp_path, ["a"])
    said: list[str] = []
    transport = FakeTransport()
    sending = Sender(Queue(QueueSettings(tmp_path)), SenderSettings(), connect=lambda _: transport, warn=said.append)
    assert sending.drain(5.0)
    assert sending.drain(5.0)
    assert names(*(body for _, body in transport.sent)) == ["a"]
    assert sending.counts.total("newer") == 1
    assert len(said) == 1
    assert "version 9" in said[0]


def test_stop_delivers_and_removes_the_file(tmp_path: Path) -> None:
    """An exit with a receiver that answers leaves nothing behind."""
    queue = filled(tmp_path, "a")
    transport = FakeTransport()
    sending = sender(tmp_path, transport, queue=queue)
    sending.start()
    assert sending.stop(30.0)
    assert names(*(body for _, body in transport.sent)) == ["a"]
    assert list(tmp_path.glob("*.q")) == []
    assert transport.closed == 1


def test_stop_with_no_time_sends_nothing(tmp_path: Path) -> None:
    """At exit timeout 0 the records stay, on the medium, in a file that anyone may drain."""
    queue = filled(tmp_path, "a")
    transport = FakeTransport()
    assert not sender(tmp_path, transport, queue=queue).stop(0)
    assert transport.sent == []
    assert sender(tmp_path, transport).drain(5.0)
    assert names(*(body for _, body in transport.sent)) == ["a"]


def test_stop_does_not_wait_for_a_dead_receiver(tmp_path: Path) -> None:
    """One attempt, then none: a receiver known to be down is not waited for, however much time there would be."""
    queue = filled(tmp_path, "a")
    transport = FakeTransport([Retry("refused")] * 100)
    assert not sender(tmp_path, transport, queue=queue).stop(600.0)
    assert len(transport.sent) == 1
    assert len(left(tmp_path)) == 1


def test_stop_is_bounded_when_the_transport_hangs(tmp_path: Path) -> None:
    """A send that never returns costs the timeout and not the exit."""
    release = threading.Event()
    queue = filled(tmp_path, "a")
    transport = FakeTransport(on_send=lambda: release.wait(60) and None)
    sending = sender(tmp_path, transport, queue=queue)
    sending.start()
    assert not sending.stop(0.1)
    release.set()


def test_requests_at_exit_are_bounded_by_what_is_left(tmp_path: Path) -> None:
    """The timeout given to a request is the exit's, when that is shorter than the request's own."""
    queue = filled(tmp_path, "a")
    transport = FakeTransport()
    clock = Clock()
    sender(tmp_path, transport, clock, queue, timeout_s=10.0).stop(1.5)
    assert transport.timeouts == [1.5]


def test_flush_waits_for_delivery(tmp_path: Path) -> None:
    """True when everything appended before it was acknowledged, False when the time was not enough."""
    queue = filled(tmp_path, "a")
    transport = FakeTransport([Retry("refused")])
    sending = sender(tmp_path, transport, queue=queue)
    assert not sending.flush(0.05)
    assert sending.flush(30.0)
    assert sending.stop()


def test_stop_and_start_may_be_repeated(tmp_path: Path) -> None:
    """A second stop does nothing; a start after a stop delivers again."""
    queue = filled(tmp_path, "a")
    transport = FakeTransport()
    sending = sender(tmp_path, transport, queue=queue)
    assert sending.stop(30.0)
    assert sending.stop(30.0)
    queue.append(Signal.TRACES, span_bytes("b"))
    assert sending.flush(30.0)
    assert sending.stop(30.0)
    assert names(*(body for _, body in transport.sent)) == ["a", "b"]


@pytest.mark.parametrize("settings", [{"protocol": "http/json"}, {"compression": "zstd"}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, str]) -> None:
    """The error names the value and what is possible."""
    with pytest.raises(ValueError, match="want"):
        SenderSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_the_middle_of_a_request_keeps_no_claim(tmp_path: Path) -> None:
    """A child made while its parent sends holds neither of the file's locks: the next drainer needs no luck."""
    queue = filled(tmp_path, "a")
    held = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            here = {file.stat().st_ino for file in tmp_path.iterdir()}
            mine = {
                os.fstat(int(fd)).st_ino
                for fd in os.listdir("/dev/fd")  # noqa: PTH208 - numbers, not paths
                if is_open(int(fd))
            }
            os._exit(len(here & mine))
        held.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    sender(tmp_path, FakeTransport(on_send=fork), queue=queue).step()
    assert held == [0]
    queue.close()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
