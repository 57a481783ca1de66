"""Figures and names as text: durations, counts, rates, sizes, and names that cannot harm a terminal.

A figure that is unknown or makes no sense (``None``, NaN, a negative duration) is the empty string.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

_LONGEST = 2000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_EXACT_DIGITS = 15
_BEYOND = 1e100


@dataclass(frozen=True)
class Signs:
    """The signs of a summary, each one cell wide, so that a status is never told by colour alone."""

    good: str
    bad: str
    stopped: str
    skipped: str
    lost: str
    warning: str
    own: str
    rest: str
    unknown: str
    dot: str
    ellipsis: str
    times: str
    at_least: str
    axis: str
    tick: str
    first_tick: str
    last_tick: str

    @property
    def ascii_only(self) -> bool:
        """True when texts must be ASCII as well."""
        return self.own.isascii()


UNICODE = Signs("✔", "✘", "■", "○", "?", "▲", "━", "─", "·", "·", "…", "×", "≥", "─", "┴", "└", "┘")
ASCII = Signs("+", "x", "!", "-", "?", "!", "#", "-", ".", "|", "~", "x", ">=", "-", "+", "+", "+")


def clean(text: object, signs: Signs) -> str:
    """Return ``text`` on one line, without what a terminal would obey, reorder or hide."""
    shown = "".join(map(_visible, unicodedata.normalize("NFC", str(text)[:_LONGEST])))
    shown = " ".join(shown.split())
    return shown.encode("ascii", "backslashreplace").decode() if signs.ascii_only else shown


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if char.isspace():
        return " "
    if category == "Cf" or unicodedata.name(char, "").startswith("VARIATION SELECTOR"):
        return ""
    return "\ufffd" if category.startswith("C") else char


def fit(text: str, width: int, signs: Signs) -> str:
    """Cut ``text`` to ``width`` cells, with an ellipsis where something is missing."""
    if cell_len(text) <= width:
        return text
    room = max(width - cell_len(signs.ellipsis), 0)
    return (set_cell_size(text, room).rstrip() + signs.ellipsis) if width > 0 else ""


def known(value: float | None) -> bool:
    """Tell whether ``value`` is a duration that can be: finite and not negative, but for the clock's rounding."""
    return value is not None and math.isfinite(value) and value > -1e-3


def duration(seconds: float | None) -> str:
    """Return a duration with two to three digits that matter: ``4.2 ms``, ``12.4 s``, ``3m 05s``, ``2d 04h``."""
    if seconds is None or not known(seconds):
        return ""
    if seconds <= 0:
        return "0 s"
    if round(seconds, 4) < 1e-4:
        return "<0.1 ms"
    if round(seconds, 3) < 1:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.00995 else f"{seconds * 1e3:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    return _long_duration(round(seconds))


def _long_duration(seconds: int) -> str:
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m {seconds % _MINUTE:02}s"
    minutes = round(seconds / _MINUTE)
    if minutes < 24 * _MINUTE:
        return f"{minutes // 60}h {minutes % 60:02}m"
    hours = round(seconds / _HOUR)
    return f"{hours // 24:,}d {hours % 24:02}h"


def count(value: float | None, *, compact: bool = False) -> str:
    """Return a count with thousands separators; ``compact`` gives three digits and a letter instead."""
    if value is None or abs(value) >= _BEYOND or not math.isfinite(value):
        return ""
    if compact or abs(value) >= 10**_EXACT_DIGITS:
        return _compact(value)
    return f"{round(value):,}"


def _compact(value: float) -> str:
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 1e15:
            return f"{float(value):.1e}"
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}" if abs(value) / limit < 999.5 else f"{value / limit:.0f}{letter}"
    return f"{round(value):,}"


def rate(records: float | None, seconds: float | None) -> str:
    """Return records per second, or per minute or hour where that is the number one can read."""
    if not count(records) or records is None or seconds is None or not known(seconds) or seconds <= 0:
        return ""
    per_second = records / seconds
    for factor, unit in ((1, "/s"), (_MINUTE, "/min"), (_HOUR, "/h")):
        figure = per_second * factor
        if figure >= 1 or unit == "/h" or figure == 0:
            return f"{count(figure) if figure >= 9.95 or figure == 0 else f'{figure:.1f}'}{unit}"
    return ""


def percent(part: float | None, whole: float | None) -> str:
    """Return ``part`` of ``whole`` in per cent; ``<1%`` is not 0."""
    if part is None or whole is None or not known(part) or not known(whole) or whole <= 0:
        return ""
    share = part / whole * 100
    return "<1%" if 0 < share < 0.5 else f"{max(share, 0):,.0f}%"


def size(value: float | None) -> str:
    """Return bytes in binary units: ``84 MiB``."""
    if value is None or not count(value) or value < 0:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1023.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"
        value = value / 1024
    return f"{value:,.1f} TiB"


def plural(number: float, noun: str) -> str:
    """Return ``1 record``, ``2 records``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"
