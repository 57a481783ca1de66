"""High-volume counts without any server: from processes of every kind into the store, exactly once."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from otel_pipeline.queue import Signal
from otel_pipeline.queue.claim import Claim
from otel_pipeline.queue.counts import Counts
from otel_pipeline.queue.folder import queue_files
from tests.test_embedded import TIMEOUT, command, environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue" / "embedded"


def run(folder: Path, program: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process that runs ``program``, which has ``op`` and ``orders``, a counter."""
    path = folder.parent.parent / "program.py"
    head = "import os, sys, time, threading\nimport otel_pipeline as op\norders = op.counter('orders')\n"
    path.write_text(head + textwrap.dedent(program))
    return subprocess.run(
        [sys.executable, *options, str(path)],
        env=environment(folder) | variables, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip


def values(folder: Path, metric: str) -> dict[tuple[str, ...], float]:
    """What `otel-pipeline stats` says that it stands at, by the labels' values."""
    shown = command(folder, "stats", metric, "--json")
    if shown.returncode != 0:
        return {}
    objects: list[dict[str, Any]] = json.loads(shown.stdout)
    return {tuple(each["labels"].values()): each["value"] for each in objects}


def test_processes_one_after_another_add_up(folder: Path) -> None:
    """Each is a stream of its own; what was counted before `setup()` is not lost."""
    for number in (1, 2, 3):
        ended = run(folder, f"""
            orders.add({number}, shop="a")
            op.setup("shop", script_run=False)
            orders.add(10, shop="a")
        """)  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, "")
    assert values(folder, "orders_total") == {("a",): 36}
    assert values(folder, "orders_total") == {("a",): 36}


def test_forks_and_pools_count_once(folder: Path) -> None:
    """What the parent has noted and not handed over is the parent's; each child's own is there as well."""
    ended = run(folder, """
        import multiprocessing

        def work(number):
            orders.add(1, who="worker")
            op.cache("users").hit()

        if __name__ == "__main__":
            op.setup("shop", script_run=False)
            orders.add(100, who="parent")
            if (child := os.fork()) == 0:
                orders.add(1, who="child")
                sys.exit()
            os.waitpid(child, 0)
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    pool.map(work, range(20))
                    pool.close()
                    pool.join()
    """)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert values(folder, "orders_total") == {("parent",): 100, ("child",): 1, ("worker",): 40}
    assert values(folder, "cache_hits_total") == {("users",): 40}


def test_nothing_is_stored_by_who_counts_nothing(folder: Path) -> None:
    """A pipeline without any of these calls leaves its spans and no metrics."""
    ended = run(folder, """
        op.setup("shop", script_run=False)
        with op.pipeline("p"), op.stage("s"):
            pass
    """)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    claims = [Claim.take(path, Counts()) for path in queue_files(folder)]
    kinds = {Signal(record.kind) for claim in claims if claim is not None for record in claim.records()}
    assert kinds == {Signal.TRACES, Signal.LOGS}


def test_collectors_are_asked_on_their_interval(folder: Path) -> None:
    """Also one that is registered later; one that raises or hangs holds up nothing, and a child asks none."""
    ended = run(folder, """
        found, asked, enough, later = [], [], threading.Event(), threading.Event()

        @op.collector("active.users", every=0.1)
        def users():
            asked.append(os.getpid())
            if len(asked) > 2:
                enough.set()
            return len(asked)

        @op.collector("broken", every=0.1)
        def broken():
            raise RuntimeError("no database")

        @op.collector("hanging", every=0.1)
        def hanging():
            time.sleep(3600)

        op.setup("shop", script_run=False)

        @op.collector("segments", every=0.1, label="segment")
        def segments():
            if found:
                later.set()  # and what was found before is noted
            found.append(1)
            return {"new": 3, "old": 4}

        assert enough.wait(60)
        assert later.wait(60)
    """)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("collector 'broken' failed: RuntimeError: no database") == 1
    assert values(folder, "active_users")[()] >= 2
    assert values(folder, "segments") == {("new",): 3, ("old",): 4}


@pytest.mark.parametrize(
    ("options", "variables", "strict"),
    [((), {}, False), (("-X", "dev"), {}, True), ((), {"OTEL_PIPELINE_STRICT": "true"}, True),
     (("-X", "dev"), {"OTEL_PIPELINE_STRICT": "false"}, False)],
)  # fmt: skip
def test_misuse(folder: Path, options: tuple[str, ...], variables: dict[str, str], strict: bool) -> None:
    """An error in development; in production a line, a counter, and the program goes on."""
    ended = run(folder, """
        op.setup("shop", script_run=False, instrument=False)
        with op.pipeline("p"), op.stage("s") as stage:
            stage.add(failed=-1)
            orders.add(-1)
            orders.add(-2)
    """, *options, **variables)  # fmt: skip
    assert (ended.returncode != 0) is strict
    if strict:
        assert "UsageError: failed=-1 was left out; a count is a whole number from 0 up" in ended.stderr
    else:
        assert ended.stderr.count("was left out") == 2
        assert values(folder, "pipeline_telemetry_rejected_total") == {("failed",): 1, ("orders",): 2}


def test_switched_off(folder: Path) -> None:
    """`OTEL_SDK_DISABLED=true`: every call works, nothing is kept."""
    ended = run(folder, """
        op.setup("shop")
        orders.add(5000)
        for _ in range(3000):
            orders.add(1)
        with op.pipeline("p"), op.crawl("x") as crawl, op.timed("t"):
            crawl.request(status=200)
    """, OTEL_SDK_DISABLED="true")  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert values(folder, "orders_total") == {}
