"""`otel-pipeline doctor`: what is configured and from where, what is installed, whether the Collector is reached.

::

    CHECKS, a row each ─► Rows ─┬─► terminal/doctor.py (people)    exit status 0, or 1 where a row is wrong
                                └─► JSON (programs)

Only the configured endpoint is contacted, with empty requests; nothing is written or removed. Secrets are masked.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from otel_pipeline import config
from otel_pipeline.doctor import collector, installed, kept, settings
from otel_pipeline.doctor.rows import Check, Row, Situation
from otel_pipeline.terminal import doctor as shown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CHECKS", "examine", "report"]

CHECKS: tuple[Check, ...] = (
    Check("versions", "What is installed", installed.versions),
    Check("settings", "Settings", settings.values),
    Check("variables", "OpenTelemetry's variables", settings.variables),
    Check("instrumentations", "Instrumentations", installed.instrumentations),
    Check("collector", "Collector", collector.reached),
    Check("queue", "Queue", kept.queue),
    Check("store", "Store", kept.store),
)
"""What is looked at, in the order in which it is told."""


def report(*, as_json: bool = False, environ: Mapping[str, str] | None = None) -> int:
    """Print what was found; exit status 0 where nothing is wrong, else 1."""
    found = examine(config.environment() if environ is None else environ)
    wrong = any(row.state == "wrong" for rows in found.values() for row in rows)
    if as_json:
        sections = {name: [row.as_object() for row in rows] for name, rows in found.items()}
        sys.stdout.write(json.dumps({"ok": not wrong, "sections": sections}, indent=2) + "\n")
    else:
        titles = {check.name: check.title for check in CHECKS}
        shown.print_report({titles[name]: rows for name, rows in found.items()}, sys.stdout)
    return int(wrong)


def examine(environ: Mapping[str, str]) -> dict[str, list[Row]]:
    """The rows of each check, by its name."""
    situation = Situation.of(environ)
    return {check.name: _looked(check, situation) for check in CHECKS}


def _looked(check: Check, situation: Situation) -> list[Row]:
    try:
        return [row.masked() for row in check.look(situation)]
    except Exception as error:  # noqa: BLE001 - what is broken must not hide the rest
        problem = f"cannot look at it: {type(error).__name__}: {error}"
        return [Row(check.name, problem, state="wrong", todo="report this as a bug of otel_pipeline").masked()]
