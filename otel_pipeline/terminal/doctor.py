"""What `otel-pipeline doctor` prints: sections of rows, and what to do at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

_SIGNS = {"fine": " ", "note": "·", "wrong": "!"}
_PLAIN = {"fine": " ", "note": "-", "wrong": "!"}
_WIDEST = 30


class Row(Protocol):
    """What is read of a row."""

    @property
    def name(self) -> str:
        """Of what."""

    @property
    def value(self) -> str:
        """How it is."""

    @property
    def origin(self) -> str:
        """Where that comes from."""

    @property
    def state(self) -> str:
        """fine, note or wrong."""

    @property
    def todo(self) -> str:
        """What to do about it."""


def print_report(sections: Mapping[str, Sequence[Row]], file: TextIO) -> None:
    """All sections by their titles, then the verdict."""
    signs = _SIGNS if _can_say("·", file) else _PLAIN
    for title, rows in sections.items():
        file.write(f"{title}\n" if rows else f"{title}: none is set\n")
        width = min(_WIDEST, max((len(row.name) for row in rows), default=0))
        for row in rows:
            origin = f"  [{row.origin}]" if row.origin else ""
            file.write(f"{signs[row.state]} {row.name:{width}}  {row.value or '(none)'}{origin}\n")
        file.write("\n")
    file.writelines(f"{line}\n" for line in verdict(sections))


def verdict(sections: Mapping[str, Sequence[Row]]) -> list[str]:
    """Whether anything is wrong, and what to do; what is wrong for a reason that was told already is left out."""
    rows = [row for found in sections.values() for row in found]
    wrong = [row for row in rows if row.state == "wrong" and row.todo]
    lines = [f"Wrong: {len(wrong)}"] if wrong else ["Nothing is wrong."]
    lines += [line for row in wrong for line in (f"! {row.name}: {row.value}", f"    {row.todo}")]
    advice = [f"  {row.name}: {row.todo}" for row in rows if row.state != "wrong" and row.todo]
    return lines + (["You may want to:", *advice] if advice else [])


def _can_say(text: str, file: TextIO) -> bool:
    try:
        text.encode(file.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
