"""`otel-pipeline queue`: look at the queue that the settings name, deliver it, offer rejected records again."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from otel_pipeline import config
from otel_pipeline.errors import SettingError
from otel_pipeline.queue import inspect
from otel_pipeline.sdk.export import Export
from otel_pipeline.sdk.lost import close_lost
from otel_pipeline.terminal import queues as shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def status(queue_dir: str | None, *, as_json: bool = False) -> int:
    """Print what waits; exit status 0."""
    folder = _export(queue_dir).queue.settings.folder
    if as_json:
        return _print([json.dumps(shown.as_json(inspect.status(folder), inspect.list_files(folder)))])
    return _print(shown.status_lines(inspect.status(folder), time.time()))


def files(queue_dir: str | None) -> int:
    """Print a line for each file; exit status 0."""
    return _print(shown.list_lines(inspect.list_files(_export(queue_dir).queue.settings.folder), time.time()))


def drain(queue_dir: str | None, *, timeout: float, live: bool) -> int:
    """Deliver what ended processes left, lost runs included; exit status 0 when nothing is left, 1 when something is.

    Raises SettingError where there is no endpoint to deliver to.
    """
    export = _export(queue_dir)
    if not any(config.exporter_names(signal, export.settings) for signal in ("traces", "metrics", "logs")):
        raise SettingError("there is no endpoint to deliver to; set OTEL_EXPORTER_OTLP_ENDPOINT")
    close_lost(export.queue)
    export.queue.close()
    complete = export.sender.drain(timeout, live=live)
    _print(shown.drain_lines(complete, export.queue.counts))
    return 0 if complete else 1


def retry(queue_dir: str | None) -> int:
    """Offer rejected records again at the next drain; exit status 0."""
    moved = inspect.retry(_export(queue_dir).queue.settings.folder)
    return _print([f"{moved} file{'' if moved == 1 else 's'} will be offered again by the next drain"])


def _export(queue_dir: str | None) -> Export:
    return Export(config.load({"queue_dir": queue_dir}))


def _print(lines: Iterable[str] | Iterator[str]) -> int:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return 0
