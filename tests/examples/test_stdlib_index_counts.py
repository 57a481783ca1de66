"""The instrumented example's spans count what `os.walk`, `ast.parse` and `hashlib` count without it."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from .conftest import TREE, Truth, find_truth
from .test_stdlib_index import INSTRUMENTED, stored

Span = dict[str, Any]


def record_spans(root: Path, database: Path, limit: int | None = None) -> dict[str, Span]:
    script = Path(__file__).with_name("record_spans.py")
    command = [sys.executable, "-W", "error", *map(str, (script, INSTRUMENTED, root, database, limit or ""))]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    spans = [span for span in json.loads(done.stdout) if span["name"].startswith(("run ", "stage "))]
    assert len({span["name"] for span in spans}) == len(spans)
    return {span["name"]: span for span in spans}


def records(span: Span) -> dict[str, int]:
    """Give the counts of a stage that are not zero, since a stage may leave out those."""
    names = ("in", "out", "failed", "dropped", "duplicate")
    counts = {name: span["attributes"].get(f"pipeline.records.{name}", 0) for name in names}
    return {name: count for name, count in counts.items() if count}


def events(span: Span, name: str) -> list[dict[str, Any]]:
    return [event for event in span["events"] if event["name"] == name]


def assert_counts(spans: dict[str, Span], truth: Truth) -> None:
    passed_on = truth.files - truth.duplicates - truth.unparsable
    assert passed_on == len(truth.modules)
    parsed = {"in": truth.files, "out": passed_on, "failed": truth.unparsable}
    parsed |= {"dropped": truth.duplicates, "duplicate": truth.duplicates}
    assert records(spans["stage extract"]) == {"in": truth.files, "out": truth.files}
    assert records(spans["stage parse"]) == {name: count for name, count in parsed.items() if count}
    assert records(spans["stage load"])["in"] == passed_on


@pytest.fixture
def spans(tree: Path, tmp_path: Path) -> dict[str, Span]:
    """Run the example on the folder of awkward sources."""
    return record_spans(tree, tmp_path / "index.db")


def test_stage_spans_count_the_made_folder(spans: dict[str, Span]) -> None:
    """Files, duplicates and files that do not parse are counted, each in its stage."""
    assert_counts(spans, TREE)


def test_stage_spans_count_the_standard_library(tmp_path: Path) -> None:
    """The interpreter's own library gives the independent count, and the database what was counted."""
    root = Path(sysconfig.get_path("stdlib"))
    truth = find_truth(root, limit=150)
    assert_counts(record_spans(root, tmp_path / "index.db", limit=150), truth)
    assert stored(tmp_path / "index.db", truth) == truth


def test_database_is_that_of_the_twin(spans: dict[str, Span], tmp_path: Path) -> None:
    """Counting changes nothing in the work."""
    assert stored(tmp_path / "index.db", TREE) == TREE


def test_stages_are_siblings_below_the_run(spans: dict[str, Span]) -> None:
    """The lazy stages lie beside each other, not below their consumer, and nothing failed as a whole."""
    stages = {name: span["parent"] for name, span in spans.items() if name.startswith("stage ")}
    assert stages == dict.fromkeys(["stage extract", "stage parse", "stage load", "stage search"], "run stdlib_index")
    assert not any(span["error"] for span in spans.values())


def test_bytes_of_failed_files_are_no_attribute(spans: dict[str, Span]) -> None:
    """A failed record shows its keys; its path and its source stay in the process."""
    samples = events(spans["stage parse"], "pipeline.record.error")
    assert samples
    assert "typo.py" not in json.dumps(samples)


def test_datasets_say_what_was_written(spans: dict[str, Span]) -> None:
    """Each table is a dataset with the rows written to it."""
    written = {
        event["pipeline.dataset.name"]: event["pipeline.dataset.records"]
        for event in events(spans["stage load"], "pipeline.dataset")
        if event["pipeline.dataset.operation"] == "write"
    }
    rows = {"modules": len(TREE.modules), "functions": len(TREE.functions), "classes": len(TREE.classes)}
    assert written == {f"stdlib.{table}": count for table, count in {**rows, "texts": sum(rows.values())}.items()}


def test_check_passes_with_modules_and_fails_without(spans: dict[str, Span], tmp_path: Path) -> None:
    """`not_empty` counts the modules stored, or one failure when there is none."""
    (tmp_path / "nothing").mkdir()
    empty = record_spans(tmp_path / "nothing", tmp_path / "empty.db")
    checks = [events(found["stage load"], "pipeline.check") for found in (spans, empty)]
    assert [(check["pipeline.check.passed"], check["pipeline.check.failed"]) for (check,) in checks] == [
        (len(TREE.modules), 0),
        (0, 1),
    ]
