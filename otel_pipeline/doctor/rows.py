"""What the doctor finds: rows, each of one thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from otel_pipeline import config, masking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otel_pipeline.config import Settings

State = Literal["fine", "note", "wrong"]


@dataclass(frozen=True)
class Row:
    """A thing and how it is: ``origin`` says where that comes from, ``todo`` what to do about it."""

    name: str
    value: str
    origin: str = ""
    state: State = "fine"
    todo: str = ""

    def masked(self) -> Row:
        """The same without secrets."""
        value = str(masking.value(self.name, self.value))
        return replace(self, value=value, todo=masking.text(self.todo))

    def as_object(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Situation:
    """What all checks look at. ``problems`` are settings that cannot be used, which are left out."""

    variables: Mapping[str, str]
    settings: Settings
    problems: tuple[str, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Situation:
        """By the environment and the config file."""
        problems: list[str] = []
        settings = config.load(None, environ, say=problems.append)
        return cls(environ, settings, tuple(problems))


@dataclass(frozen=True)
class Check:
    """A look at one thing: a row of ``doctor.CHECKS``."""

    name: str
    title: str
    look: Callable[[Situation], Iterable[Row]]
