"""``python -m bench [ROW …]``: measure and report."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from bench import report, venv
from bench.rounds import Bench
from bench.rows import NOT_YET, ROWS

REPORT = venv.ROOT / "bench" / "report.md"


def main(arguments: list[str] | None = None) -> int:
    """Measure the rows asked for, and write them into the report if told so; all of them always do.

    The status is 1 when a goal is missed.
    """
    given = _parser().parse_args(arguments)
    rows = [row for row in ROWS if not given.rows or row.number in given.rows]
    if unknown := set(given.rows) - {row.number for row in ROWS} - set(NOT_YET):
        print(f"bench: row {', '.join(sorted(unknown))}: there is none; see bench/rows.py", file=sys.stderr)
        return 2
    python = venv.python()
    scale = "quick" if given.quick else "full"
    rounds = given.rounds or (5 if given.quick else 15)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=venv.CACHE))  # /tmp may be in memory
    load, results = os.getloadavg()[0], []
    try:
        with Bench(python, folder, rounds, scale) as bench:
            for row in rows:
                print(f"\n{row.number} {row.what} ", end="", file=sys.stderr, flush=True)
                results.append((row, row.measure(bench, row)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(file=sys.stderr)
    loads = (load, os.getloadavg()[0])
    table, notes = report.lines(results), report.notes(results)
    at = datetime.now(timezone.utc)
    circumstances = report.Circumstances(
        at, rounds, scale, loads, {"otel_pipeline": venv.commit()} | venv.versions(python)
    )
    print("\n".join([report.text(table), "", *notes, *circumstances.lines()]))
    if given.save or not (given.rows or given.quick):
        before = REPORT.read_text() if REPORT.exists() else ""
        REPORT.write_text(report.markdown(table, notes, circumstances, before))
    return int(any(line[-1] == "missed" for line in table))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="numbers of bench/rows.py; by default all")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each row (default 15, quick 5)")
    parser.add_argument("--save", action="store_true", help="write these rows into the report, the others stay")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds; writes no report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
