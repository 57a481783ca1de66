"""Pending records ─► requests ─► answers: what is sent together, again, in smaller parts, or never.

One thread uses a `Delivery`; it waits for nothing but answers. Back-off is a time before which a signal is not tried,
so a receiver that refuses one signal delays no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_pipeline.queue.format import Record, Signal
from otel_pipeline.queue.transport import Accepted, Outcome, Rejected, Retry, TooLarge, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_pipeline.queue.claim import Claim
    from otel_pipeline.queue.counts import Counts
    from otel_pipeline.queue.queue import Warn
    from otel_pipeline.queue.settings import SenderSettings

__all__ = ["Delivery"]


@dataclass(slots=True)
class _State:
    """Of one signal: bytes of its next request, failures in a row, when to try again, did the receiver say when."""

    limit: int
    attempt: int = 0
    ready_at: float = field(default=float("-inf"))
    told_when: bool = False


class Delivery:
    """Sends what claims hold. `clock` is monotonic seconds, `random` uniform in [0, 1)."""

    def __init__(
        self,
        settings: SenderSettings,
        connect: Callable[[SenderSettings], Transport],
        *,
        counts: Counts,
        warn: Warn,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.deadline = float("inf")
        self._settings = settings
        self._connect = connect
        self._counts = counts
        self._warn = warn
        self._clock = clock
        self._random = random
        self._transport: Transport | None = None
        self._states = {signal: _State(settings.max_request_bytes) for signal in Signal}
        self._warned: set[str] = set()

    def deliver(self, claim: Claim) -> bool:
        """Send what `claim` holds, remove its file if that may be; False when something is left to send.

        Raises `OSError` when the position cannot be noted; what was sent may then be sent again.
        """
        complete = True
        for signal in Signal:
            complete &= self._deliver_signal(claim, signal)
        if complete:
            claim.finish()
        return complete

    def ready(self) -> bool:
        """Whether any signal may be tried now."""
        return self._left() > 0 and any(self._is_ready(signal) for signal in Signal)

    def may_send(self, tried: Sequence[int], appended: Sequence[int]) -> bool:
        """Whether another pass may send anything: what failed may be tried again, or of another signal there is more.

        The numbers are of items appended, by signal: before the last pass, and now.
        """
        failed = {signal for signal, state in self._states.items() if state.attempt}
        if not failed:
            return True  # the last pass stopped for another reason
        return any(
            self._is_ready(signal) and (signal in failed or appended[signal] != tried[signal]) for signal in Signal
        )

    def reachable(self) -> bool:
        """False where the last try failed, and the receiver cannot even be connected to: then nothing need be read.

        Asked only of transports that can tell (their ``reach``).
        """
        failed = [signal for signal, state in self._states.items() if state.attempt and self._is_ready(signal)]
        reach = getattr(self._transport, "reach", None)
        if not failed or reach is None:
            return True
        problem: Retry | None = reach(failed[0], max(0.001, min(self._settings.timeout_s, self._left())))
        if problem is None:
            return True
        for signal in failed:
            self._back_off(self._states[signal], signal, problem)
        return False

    def wait_s(self) -> float:
        """Seconds until some signal that failed may be tried again, 0 when none failed."""
        failed = [state.ready_at for state in self._states.values() if state.attempt]
        return max(0.0, min(failed) - self._clock()) if failed else 0.0

    def hurry(self) -> None:
        """Forget the waits that nobody asked for; those that the receiver demanded stay."""
        for state in self._states.values():
            if not state.told_when:
                state.ready_at = float("-inf")

    def close(self) -> None:
        """Close the transport; the next request opens another."""
        transport, self._transport = self._transport, None
        if transport:
            transport.close()

    def abandon(self) -> None:
        """Forget the transport in a forked child, whose parent goes on using its connections."""
        transport, self._transport = self._transport, None
        if transport:
            transport.abandon()

    def _left(self) -> float:
        return self.deadline - self._clock()

    def _is_ready(self, signal: Signal) -> bool:
        return self._clock() >= self._states[signal].ready_at

    def _deliver_signal(self, claim: Claim, signal: Signal) -> bool:
        state = self._states[signal]
        while batch := claim.batch(signal, state.limit):
            if self._left() <= 0 or not self._is_ready(signal):
                return False
            outcome = self._send(signal, b"".join([record.payload for record in batch]))
            if not self._settle(claim, signal, batch, outcome):
                return False
        return True

    def _send(self, signal: Signal, body: bytes) -> Outcome:
        timeout = max(0.001, min(self._settings.timeout_s, self._left()))
        self._counts.add("requests", 1, signal)
        try:
            if self._transport is None:
                self._transport = self._connect(self._settings)
            return self._transport.send(signal, body, timeout)
        except Exception as error:  # noqa: BLE001 - unusable settings or a missing extra must not cost the data
            return Retry(f"{type(error).__name__}: {error}")

    def _settle(self, claim: Claim, signal: Signal, batch: list[Record], outcome: Outcome) -> bool:
        """Act on an answer; False when the signal has to wait."""
        state = self._states[signal]
        items = sum(record.count for record in batch)
        if isinstance(outcome, TooLarge) and len(batch) > 1:
            state.limit = sum(len(record.payload) for record in batch) // 2
            return True
        if isinstance(outcome, Retry):
            self._back_off(state, signal, outcome)
            return False
        state.attempt, state.ready_at, state.told_when = 0, float("-inf"), False
        if isinstance(outcome, Accepted):
            self._counts.add("delivered", max(0, items - outcome.refused), signal)
            self._note_refused(signal, outcome)
        else:
            self._reject(claim, signal, batch, outcome)
        claim.acknowledge(signal, batch[-1].end)
        return True

    def _back_off(self, state: _State, signal: Signal, outcome: Retry) -> None:
        delay = min(self._settings.backoff_max_s, self._settings.backoff_s * 2**state.attempt)
        # Between a half and the whole: senders that failed together must not come back together.
        delay *= 0.5 + self._random() / 2
        state.attempt = min(state.attempt + 1, 32)
        state.told_when = outcome.after_s is not None
        state.ready_at = self._clock() + max(delay, outcome.after_s or 0.0)
        self._counts.add("retries", 1, signal)
        self._say("retry", f"cannot deliver {signal.label}: {outcome.reason}; it stays in the queue and is sent later")

    def _note_refused(self, signal: Signal, outcome: Accepted) -> None:
        if outcome.refused:
            self._counts.add("refused", outcome.refused, signal)
            self._say(f"refused {signal}", f"the receiver dropped {outcome.refused} {signal.label}: {outcome.message}")

    def _reject(self, claim: Claim, signal: Signal, batch: list[Record], outcome: TooLarge | Rejected) -> None:
        claim.set_aside(batch, outcome.reason)
        self._counts.add("rejected", sum(record.count for record in batch), signal)
        message = f"the receiver rejects {signal.label}: {outcome.reason}; set aside in {claim.path.stem}.rejected"
        self._say(f"rejected {signal}", message)

    def _say(self, reason: str, message: str) -> None:
        self._counts.last_error = message
        if reason in self._warned:
            return
        self._warned.add(reason)
        try:
            self._warn(message)
        except Exception:  # noqa: BLE001 - the caller's function must not stop the delivery
            return
