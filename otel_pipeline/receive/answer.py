"""What becomes of a request. The two transports say it each in its own words (``responses.py``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Signal = Literal["traces", "metrics", "logs"]


@dataclass(frozen=True)
class Accepted:
    """It is taken, and need not be sent again; all but ``rejected`` items, which ``message`` says the cause of."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True)
class Refused:
    """It can never be taken. ``too_large``: since it is over the limit."""

    message: str
    too_large: bool = False


@dataclass(frozen=True)
class RetryLater:
    """It may be taken when it is sent again in ``seconds``; nothing of it is kept."""

    message: str
    seconds: float = 1.0


Answer: TypeAlias = Accepted | Refused | RetryLater
Handle: TypeAlias = Callable[[Signal, bytes], Awaitable[Answer]]
"""What is done with a request: the signal, and an ``Export…ServiceRequest`` as protobuf's bytes. Raises nothing."""


class NotTakenError(Exception):
    """A request does not come as far as ``handle``; ``answer`` says why."""

    def __init__(self, answer: Refused | RetryLater) -> None:
        super().__init__(answer.message)
        self.answer = answer
