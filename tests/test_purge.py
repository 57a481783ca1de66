"""`otel-pipeline purge`: what is ours goes, what is not stays, and so does what living processes write."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from otel_pipeline.queue import Queue, QueueSettings, Signal
from tests.known_secrets import SECRET
from tests.served import MAIN, TIMEOUT, environment, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PROGRAM = """
import sys
import otel_pipeline as op
op.setup("orders", script_run=False)
with op.pipeline("orders"):
    with op.stage("load"):
        pass
    print("inside", flush=True)
    sys.stdin.read()
"""


class Home:
    """A user's folders, in which something was kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = folder / "queue"
        (folder / "tmp").mkdir()

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """For processes of this user."""
        return environment(self.folder) | {"TMPDIR": str(self.folder / "tmp")} | dict(more or {})

    def purge(self, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Without a terminal."""
        return subprocess.run(
            [sys.executable, "-c", MAIN, "purge", *arguments],
            env=self.environ(more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def keep(self) -> None:
        """Queues of both kinds, rejected and damaged records, a position."""
        for place in (self.queue, self.queue / "embedded"):
            for _ in range(2):
                queue = Queue.open(QueueSettings(place))
                queue.append(Signal.TRACES, b"\x0a\x00", count=3)
                queue.close()
        first, second = sorted(self.queue.glob("*.q"))
        first.rename(first.with_suffix(".rejected"))
        second.with_suffix(".pos").write_bytes(b"")
        second.with_suffix(".corrupt").write_bytes(b"?")

    def files(self) -> set[str]:
        """What is there."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix() for path in found}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user's folders."""
    return Home(tmp_path)


@contextmanager
def running(home: Home, more: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a run."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=home.environ(more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        try:
            yield process
        finally:
            process.kill()


def test_all_that_is_ours_goes(home: Home) -> None:
    """Queues, rejected and damaged records, the store with its journal; it says what and how much."""
    home.keep()
    with serving(home.folder):
        pass
    done = home.purge("--yes")
    assert done.returncode == 0, done
    assert not any(home.queue.rglob("*.*"))
    assert not {name for name in home.files() if "store.db" in name}
    assert "3 traces" in done.stdout
    assert "rejected records (1)" in done.stdout
    assert "store (1)" in done.stdout
    assert home.purge("--yes").stdout == "There is nothing to remove.\n"


def test_what_is_not_ours_stays(home: Home) -> None:
    """Files of other names, links, and a database of somebody else's under the store's name."""
    home.keep()
    others = ("notes.txt", "orders.q", "a.pos", "1234.000001.q", "x.open", "queue.rejected", "backup.tmp")
    for name in others:
        (home.queue / name).write_text("mine")
    target = home.folder / "mine.txt"
    target.write_text("mine")
    link = home.queue / "0123456789abcdef-1-01234567.000001.q"
    link.symlink_to(target)
    with closing(sqlite3.connect(home.folder / "store.db")) as database:
        database.execute("CREATE TABLE customers (id)")
        database.commit()
    done = home.purge("--yes")
    assert all((home.queue / name).read_text() == "mine" for name in others)
    assert target.read_text() == "mine"
    assert link.is_symlink()
    with closing(sqlite3.connect(home.folder / "store.db")) as database:
        assert database.execute("SELECT count(*) FROM customers").fetchone() == (0,)
    assert "it is no store of ours" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:9"])
def test_a_living_process_keeps_its_queue_until_it_dies(home: Home, endpoint: str | None) -> None:
    """Its queue and open runs are left and said; once it was killed they go."""
    with running(home, {"OTEL_PIPELINE_ENDPOINT": endpoint} if endpoint else None) as process:
        before = {name for name in home.files() if name.endswith((".q", ".open"))}
        assert {name.rpartition(".")[2] for name in before} == {"q", "open"}
        done = home.purge("--yes")
        assert done.returncode == 0, done
        assert done.stdout.count("a living process writes to it") == len(before)
        assert before <= home.files()
        process.kill()
        process.wait()
        done = home.purge("--yes")
    assert "open runs (1)" in done.stdout
    assert not {name for name in home.files() if name.startswith("queue/")}, home.files()


def test_a_dry_run_removes_nothing(home: Home) -> None:
    """It says the same, and needs no terminal."""
    home.keep()
    before = home.files()
    done = home.purge("--dry-run")
    assert done.returncode == 0
    assert "3 traces" in done.stdout
    assert home.files() == before


def test_without_a_terminal_it_refuses(home: Home) -> None:
    """Unless --yes says that it is meant."""
    home.keep()
    before = home.files()
    done = home.purge()
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert home.files() == before


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal")
@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_on_a_terminal_it_asks(home: Home, answer: str, status: int) -> None:
    """Only a yes is one."""
    import pty

    home.keep()
    before = home.files()
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", MAIN, "purge"], env=home.environ(), stdin=theirs, stdout=subprocess.PIPE, text=True
        ) as process:
            os.write(ours, f"{answer}\n".encode())
            out, _ = process.communicate(timeout=TIMEOUT)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Remove all of it?" in out
    assert process.returncode == status
    assert (home.files() == before) is (status == 1)


def test_a_database_is_never_purged(home: Home) -> None:
    """It is said, without its password, and not contacted."""
    home.keep()
    done = home.purge("--yes", more={"OTEL_PIPELINE_STORE": f"postgresql://etl:{SECRET}@127.0.0.1:9/shop"})
    assert done.returncode == 0
    assert "postgresql://etl:***@127.0.0.1:9/shop is left as it is" in done.stdout
    assert not list(home.queue.rglob("*.q"))


def test_a_store_that_is_open_stays(home: Home) -> None:
    """A processor that goes on would write into a file that nobody finds again."""
    with serving(home.folder) as served:
        done = home.purge("--yes")
        assert "stop `otel-pipeline serve` first" in done.stdout
        assert served.metrics()
    assert "store.db" in home.files()
    assert home.purge("--yes").returncode == 0
    assert "store.db" not in home.files()


def test_what_a_killed_parent_left(home: Home) -> None:
    """The folder in which a command told `otel-pipeline run` of its run goes, others of that name do not."""
    ours, others = home.folder / "tmp" / "otel-pipeline-abc", home.folder / "tmp" / "otel-pipeline-mine"
    for folder, names in ((ours, ("parent", "events.jsonl")), (others, ("parent", "orders.csv"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("")
    assert home.purge("--yes").returncode == 0
    assert not ours.exists()
    assert (others / "orders.csv").exists()


def test_a_run_under_a_parent_keeps_its_folder(home: Home) -> None:
    """While that lives."""
    command = ["-c", MAIN, "run", "--", sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        [sys.executable, *command], env=home.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        (folder,) = (home.folder / "tmp").glob("otel-pipeline-*")
        done = home.purge("--yes")
        assert f"Left {folder}: a living process writes to it" in done.stdout
        assert (folder / "parent").exists()
        process.communicate("")
    assert process.returncode == 0
