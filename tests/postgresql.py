"""A real PostgreSQL for the tests, on a free port of this machine: made in a folder of its own, and gone afterwards.

It refuses to run as root; there it runs as the user ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pg8000.dbapi as driver  # type: ignore[import-untyped]
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIRE = "OTEL_PIPELINE_REQUIRE_SERVERS"
PASSWORD = "secret of the tests"
_PROGRAMS = ("initdb", "postgres")
_LIMIT_S = 120
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "deadlock_timeout": "200ms",
    "log_lock_waits": "on",
    "autovacuum_naptime": "10s",
}


class Server:
    """One server. ``stop`` and ``start`` keep its data and its port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._user = folder, _user()
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            shutil.chown(folder, self._user)
        password = folder / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            shutil.chown(password, self._user)
        self._run("initdb", "-D", str(folder / "data"), "-U", "tester", f"--pwfile={password}", "-A", "scram-sha-256",
                  "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def start(self, **settings: str) -> Server:
        """Start it, with more settings or others; ready when this returns."""
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, **settings}.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_path("postgres"), "-D", str(self._folder / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", "",
                 *options],
                stdout=log, stderr=log, user=self._user, cwd=self._folder, env=_environment(),
            )  # fmt: skip
        end = time.monotonic() + _LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not answer: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """End all sessions and the server."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_LIMIT_S)

    def url(self, database: str, *, password: str = PASSWORD) -> str:
        """Of a database, for the setting ``store``."""
        return f"postgresql://tester:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; its URL."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, query: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows of a query, which runs by itself."""
        connection = self._connect(database)
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()

    def _connect(self, database: str) -> driver.Connection:
        return driver.connect("tester", host="127.0.0.1", port=self.port, database=database, password=PASSWORD)

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except (driver.Error, OSError):
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([_path(program), *arguments], check=True, capture_output=True, user=self._user,
                       cwd=self._folder, env=_environment())  # fmt: skip


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A server for all tests of this process; each takes a database of its own."""
    with running() as server:
        yield server


class running:
    """A server in a folder of its own, for ``with``; left out or failed where there is none to start."""

    def __enter__(self) -> Server:
        """Start it."""
        if lacking := [program for program in _PROGRAMS if shutil.which(program) is None]:
            what = f"{', '.join(lacking)} of PostgreSQL not installed"
            if os.environ.get(REQUIRE) == "1":
                pytest.fail(f"{REQUIRE}=1, and {what}", pytrace=False)
            pytest.skip(f"PostgreSQL's tests left out: {what}")
        self._folder = Path(tempfile.mkdtemp(prefix="otel-pipeline-postgresql-"))
        self._folder.chmod(0o755)
        self._server = Server(self._folder / "server").start()
        return self._server

    def __exit__(self, *_: object) -> None:
        """End it and remove its folder."""
        self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _path(program: str) -> str:
    # The installed one, not a link or a wrapper that looks for itself: initdb starts the postgres beside it.
    return str(Path(shutil.which(program) or program))


def _user() -> str | None:
    if getpass.getuser() != "root":
        return None
    import pwd

    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
