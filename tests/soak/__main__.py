"""``python -m tests.soak [NAME ...]``: run the soaks of those names, or all, and write the report."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..e2e.servers import missing_binaries
from . import report
from .ends import ends
from .fuzz import fuzz
from .kills import kills
from .store import store

if TYPE_CHECKING:
    from collections.abc import Callable

SOAKS: dict[str, Callable[[Path], report.Section]] = {"ends": ends, "fuzz": fuzz, "kills": kills, "store": store}


def main() -> int:
    """The exit status: 0 when everything is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="The whole of each heavy matrix.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SOAKS)}; all by default")
    names: list[str] = parser.parse_args().names or list(SOAKS)
    if unknown := sorted(set(names) - set(SOAKS)):
        parser.error(f"no soak {unknown[0]!r}; there are {', '.join(SOAKS)}")
    if lacking := missing_binaries():
        parser.error(f"{', '.join(lacking)} not installed (run `make backends`)")
    failed = []
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="otel-pipeline-soak-") as folder:
            section = SOAKS[name](Path(folder))
        report.write(name, section)
        failed += [] if section.passed else [name]
        sys.stderr.write(f"{name}: {'passed' if section.passed else 'FAILED'} in {time.monotonic() - began:.0f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
