"""The summary and the progress of a run as text, as well as the file that it is for can show it.

The layout is in ``view.py`` and ``progress.py``; here is what depends on the terminal: its width, whether it has
colour, and whether its encoding has the signs.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, TextIO

from otel_pipeline import masking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from rich.console import Console, Group

    from otel_pipeline.model import Run, Stage
    from otel_pipeline.terminal.progress import RunProgress

WIDEST = 160
"""A wider terminal is not filled: the eye would lose the row between a name and its figures."""


def print_summary(run: Run, stages: Sequence[Stage], file: TextIO) -> None:
    """Write the summary of ``run`` to ``file``.

    In colour on a terminal (unless ``NO_COLOR`` is set), as plain text elsewhere, in ASCII where the file's encoding
    is no UTF. A file that cannot be written to is left alone: the run that is summed up must not fail by it.

    Example::

        print_summary(run, stages, sys.stderr)
    """
    from rich.console import Console  # noqa: PLC0415 - rich is loaded only by those who print

    probe = Console(file=file, force_jupyter=False)
    width = min(probe.width, WIDEST)
    text = _rendered(summary(run, stages, width, ascii_only=not probe.encoding.startswith("utf")), probe, width)
    with contextlib.suppress(OSError, ValueError):
        file.write(text)
        file.flush()


def summary(
    run: Run, stages: Sequence[Stage], width: int, *, ascii_only: bool = False, zone: tzinfo | None = None
) -> Group:
    """Return the summary of ``run`` as a rich renderable of at most ``width`` columns (40 at least).

    ``zone`` is the time zone of the start time, the machine's own by default. Never raises for odd values: what makes
    no sense (a NaN, an end before the start) is shown as unknown.

    Example::

        rich.print(summary(run, stages, 100))
    """
    from rich.console import Group  # noqa: PLC0415 - loads rich

    from otel_pipeline.terminal.view import lines  # noqa: PLC0415 - loads rich

    run, stages = masking.inside(run), [masking.inside(stage) for stage in stages]
    return Group(*lines(run, stages, width, ascii_only=ascii_only, zone=zone))


def progress_lines(runs: Sequence[RunProgress], width: int, height: int, file: TextIO) -> list[str]:
    """The progress of open runs, each line as it is to be written to the terminal that ``file`` is."""
    from rich.console import Console  # noqa: PLC0415 - rich is loaded only by those who print

    from otel_pipeline.terminal.progress import progress  # noqa: PLC0415 - loads rich

    probe = Console(file=file, force_jupyter=False)
    ascii_only = not probe.encoding.startswith("utf")
    return _rendered(progress(runs, width, height, ascii_only=ascii_only), probe, width).splitlines()


def plain(renderable: Group, width: int) -> str:
    """The renderable without colour, its last line without an end: for a page that shows text."""
    from rich.console import Console  # noqa: PLC0415 - rich is loaded only by those who print

    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False, force_jupyter=False).print(renderable)
    return text.getvalue().rstrip("\n")


def _rendered(renderable: Group, probe: Console, width: int) -> str:
    """Render apart from ``file``: rich answers a broken pipe with ``SystemExit``, which is not ours to raise."""
    from rich.console import Console  # noqa: PLC0415 - loaded by the caller

    text = io.StringIO()
    colour = None if probe.no_color or probe.legacy_windows else probe.color_system
    console = Console(
        file=text,
        width=width,
        force_terminal=probe.is_terminal,
        force_jupyter=False,
        legacy_windows=False,
        color_system=colour,  # type: ignore[arg-type]  # rich's property has a wider type than its parameter
    )
    console.print(renderable)
    return text.getvalue()
