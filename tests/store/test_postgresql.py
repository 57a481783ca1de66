"""What is PostgreSQL's own: several processors at once, also ones that hang, and what may be wrong with a server."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_pipeline.kpi.memory import MemoryEngine
from otel_pipeline.store import postgresql as place
from otel_pipeline.store.errors import StoreBusyError, StoreError
from otel_pipeline.store.store import Store
from tests.kpi.events import NOW, run, stage
from tests.postgresql import PASSWORD, Server, running
from tests.store.test_store import figures
from tests.store.writer import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

ROOT = Path(__file__).parents[2]
LIMIT_S = 180


@pytest.fixture
def url(postgresql: Server) -> str:
    return postgresql.new_database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with contextlib.closing(Store(url)) as made:
        yield made


def writer(url: str, seed: int, *more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.writer", url, str(seed), *map(str, more)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def said(process: subprocess.Popen[str], text: str) -> None:
    """Wait until it says that."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == text:
            return
    raise AssertionError(process.stderr.read() if process.stderr is not None else "")


def finished(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out.strip().splitlines()[-1:]) == (0, ["done"]), err
    return out.strip().splitlines()[:-1]


def exact(url: str) -> None:
    """The figures are those of the stream itself."""
    truth = MemoryEngine()
    truth.consume(stream())
    with contextlib.closing(Store(url)) as store:
        assert figures(store) == [figure for figure in truth.figures(NOW) if any(figure.numbers)]


def test_two_processors_write_the_same_stream_at_once(postgresql: Server, url: str) -> None:
    """Each three times, in another order: exact, and no two ever waited for each other in a circle."""
    processes = [writer(url, seed) for seed in (1, 2)]
    assert [finished(process) for process in processes] == [[], []]
    exact(url)
    assert "deadlock detected" not in postgresql.log.read_text("utf-8", "replace")


def test_one_that_is_killed_in_the_middle_loses_nothing_and_counts_nothing_twice(url: str) -> None:
    """What it had not acknowledged is sent again, here to its successor."""
    other, dying = writer(url, 3), writer(url, 4, 10, "SIGKILL")
    said(dying, "in the middle")
    dying.communicate(timeout=LIMIT_S)
    assert dying.returncode == -signal.SIGKILL
    finished(writer(url, 4))
    finished(other)
    exact(url)


def test_one_that_is_stopped_in_the_middle_does_not_block_the_other(url: str) -> None:
    """The server ends its session; when it goes on it is told so, tries again, and all is exact."""
    stopped = writer(url, 5, 10, "SIGSTOP")
    said(stopped, "in the middle")
    finished(writer(url, 6))  # needs the rows that the stopped one holds
    stopped.send_signal(signal.SIGCONT)
    told = finished(stopped)
    assert len(told) == 1
    assert "try again" in told[0]
    exact(url)


def test_a_session_that_says_nothing_is_ended_by_the_server(store: Store) -> None:
    """As are those whose statements or locks take too long, or whose machine is gone."""
    with store._writing() as connection:
        settings = {row[0]: row[1] for row in connection.exec_driver_sql("SELECT name, setting FROM pg_settings")}
    assert settings["idle_in_transaction_session_timeout"] == str(place.SILENT_S * 1000)
    assert int(settings["lock_timeout"]) > place.SILENT_S * 1000
    assert int(settings["statement_timeout"]) == place.STATEMENT_S * 1000
    assert int(settings["tcp_user_timeout"]) > 0
    assert settings["synchronous_commit"] == "on"


def test_one_that_cannot_have_a_row_in_time_says_so(store: Store, url: str) -> None:
    """And nothing of its transaction has happened."""
    store.write([run()], now=NOW)
    with contextlib.closing(Store(url, busy_s=0.05)) as impatient:
        with store._writing() as connection:
            connection.exec_driver_sql("SELECT 1 FROM run_key FOR UPDATE")
            with pytest.raises(StoreBusyError, match="another process holds it"):
                impatient.write([stage()], now=NOW)
        assert impatient.write([stage()], now=NOW) == {"stages": 1}


def test_a_server_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    """Meanwhile the error says that trying again later will do."""
    with running() as server, contextlib.closing(Store(server.new_database(), busy_s=1)) as store:
        store.write([run()], now=NOW)
        server.stop()
        for _ in range(2):
            with pytest.raises(StoreBusyError, match="away"):
                store.write([stage()], now=NOW)
        with pytest.raises(StoreBusyError, match="away"):
            figures(store)
        server.start()
        assert figures(store)
        assert store.write([run(), stage()], now=NOW) == {"repeated": 1, "stages": 1}
        assert PASSWORD not in store.name


def end_sessions(server: Server, store: Store) -> None:
    """As an administrator would; they are gone when this returns."""
    database = store.name.rpartition("/")[2]
    query = f"SELECT pg_terminate_backend(pid, {LIMIT_S * 1000}) FROM pg_stat_activity WHERE datname = '{database}'"
    assert all(row[0] for row in server.execute(query))


def test_a_session_that_was_ended_is_made_anew(postgresql: Server, store: Store) -> None:
    """By an administrator, say."""
    store.write([run()], now=NOW)
    end_sessions(postgresql, store)
    assert store.write([run(), stage()], now=NOW) == {"repeated": 1, "stages": 1}


@pytest.mark.parametrize("using", [Store._writing, Store.reading])
def test_a_session_that_is_ended_while_it_is_used_is_one_error(
    using: Callable[[Store], AbstractContextManager[object]],
    postgresql: Server,
    store: Store,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was sent is sent again, and nothing else is said, by SQLAlchemy's pool either."""
    with pytest.raises(StoreBusyError, match="away"), using(store) as used:
        cursor = getattr(used, "_connection", used).connection.cursor()
        end_sessions(postgresql, store)
        cursor.execute("SELECT 1")
    assert store.write([run()], now=NOW) == {"runs": 1}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("broken", "kind", "advice"),
    [
        ("postgresql://tester:wrong@127.0.0.1:{port}/postgres", StoreError, "refuses the user or the password"),
        ("postgresql://nobody:secret@127.0.0.1:{port}/postgres", StoreError, "refuses the user or the password"),
        ("postgresql://tester:{password}@127.0.0.1:{port}/nowhere", StoreError, "no such database"),
        ("postgresql://tester:{password}@127.0.0.1:1/postgres", StoreBusyError, "its server is away"),
    ],
)
def test_an_address_that_cannot_be_used_says_why(postgresql: Server, broken: str, kind: type, advice: str) -> None:
    """In one line, without the password."""
    filled = broken.format(port=postgresql.port, password=PASSWORD.replace(" ", "%20"))
    with pytest.raises(kind, match=advice) as raised:
        Store(filled)
    told = str(raised.value)
    assert not {"wrong", "secret", "\n"} & {part for part in ("wrong", "secret", "\n") if part in told}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://u:geheim@h/d", "want a file, or postgresql://"),
        ("postgresql://h/d", "want a file, or postgresql://"),
        ("postgresql://u:geheim@h", "want a file, or postgresql://"),
        ("postgresql://u:geheim@h:port/d", "the URL cannot be read"),
        ("postgresql://u:geheim@h/d?sslmode=maybe", "sslmode='maybe': want one of disable, require, verify-full"),
        ("postgresql://u:geheim@h/d?target=1", "there is no parameter 'target'"),
    ],
)
def test_a_url_that_means_nothing_says_what_is_wanted(url: str, told: str) -> None:
    """Without the password."""
    with pytest.raises(StoreError) as raised:
        Store(url)
    assert told in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_a_read_only_database_is_read(postgresql: Server, url: str) -> None:
    """As that of a standby server; writing says why not."""
    with contextlib.closing(Store(url)) as store:
        store.write([run()], now=NOW)
    postgresql.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    with contextlib.closing(Store(url)) as store:
        assert store.read_only
        assert figures(store)
        with pytest.raises(StoreError, match="read-only"):
            store.write([stage()], now=NOW)


def test_what_the_server_lacks_is_said_and_nothing_has_happened(postgresql: Server, store: Store) -> None:
    """Room on its disk (its own error, raised in its place), and connections."""
    store.write([run()], now=NOW)
    before, database = figures(store), store.name.rpartition("/")[2]
    postgresql.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100';"
        " END $$ LANGUAGE plpgsql; CREATE TRIGGER full_disk AFTER INSERT ON stage EXECUTE FUNCTION full_disk()",
        database,
    )
    with pytest.raises(StoreError, match="disk is full"):
        store.write([stage()], now=NOW)
    assert figures(store) == before
    postgresql.execute(f"CREATE ROLE poor_{database} LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    with pytest.raises(StoreBusyError, match="too many connections"):
        Store(f"postgresql://poor_{database}:x@127.0.0.1:{postgresql.port}/{database}")
    postgresql.execute(f"CREATE ROLE plain_{database} LOGIN PASSWORD 'x'")
    with pytest.raises(StoreError, match="may not do this"):
        Store(f"postgresql://plain_{database}:x@127.0.0.1:{postgresql.port}/{database}")
