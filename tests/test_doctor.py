"""`otel-pipeline doctor` against real receivers, closed ports, black holes, and what is kept on a machine."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from otel_pipeline import doctor
from otel_pipeline.doctor import CHECKS
from otel_pipeline.doctor.collector import CAUSES
from otel_pipeline.queue import Queue, QueueSettings, Signal
from tests.known_secrets import SECRET
from tests.served import MAIN, environment, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SIGNALS = ("traces", "metrics", "logs")


class Told:
    """What the doctor said: the exit status, and the rows by section and name."""

    def __init__(self, status: int, told: str) -> None:
        self.status = status
        self.text = told
        self.report: dict[str, Any] = json.loads(told)

    def rows(self, section: str) -> dict[str, dict[str, str]]:
        """The rows of a section, by name."""
        return {row["name"]: row for row in self.report["sections"][section]}


def ask(folder: Path, more: Mapping[str, str] | None = None) -> Told:
    """The doctor as JSON, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "doctor", "--json"],
        env=environment(folder) | dict(more or {}),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    told = Told(done.returncode, done.stdout)
    assert told.report["ok"] is (done.returncode == 0)
    return told


@contextmanager
def answering(status: int) -> Iterator[str]:
    """An HTTP server that answers everything with ``status``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that takes connections and never says anything."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def closed_port() -> str:
    """One at which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_receiver_that_answers(tmp_path: Path, protocol: str) -> None:
    """All three signals arrive over the configured protocol, and nothing is stored of it."""
    with serving(tmp_path) as served:
        address = served.grpc if protocol == "grpc" else served.http
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}", "OTEL_PIPELINE_PROTOCOL": protocol}
        told = ask(tmp_path, endpoint)
        assert not [name for name in served.metrics() if name.startswith("pipeline_run")]
    found = told.rows("collector")
    assert {name: row["state"] for name, row in found.items()} == dict.fromkeys(SIGNALS, "fine")
    assert f"{address}" in found["traces"]["value"]
    assert told.status == 0


@pytest.mark.parametrize(
    ("status", "cause"), [(401, "401"), (403, "403"), (404, "404"), (400, "refuses"), (503, "una")]
)
def test_a_receiver_that_refuses(tmp_path: Path, status: int, cause: str) -> None:
    """The exact status, and what to do."""
    with answering(status) as url:
        told = ask(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    row = told.rows("collector")["traces"]
    assert f": {cause}" in row["value"]
    assert f"HTTP {status}" in row["value"]
    assert row["state"] == "wrong"
    assert row["todo"]
    assert told.status == 1


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_nobody_listens(tmp_path: Path, protocol: str) -> None:
    """Refused; the other signals of the same endpoint are not tried."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{closed_port()}", "OTEL_PIPELINE_PROTOCOL": protocol}
    told = ask(tmp_path, endpoint)
    found = told.rows("collector")
    assert ": refused: " in found["traces"]["value"]
    assert all("not asked, for the same reason" in found[name]["value"] for name in ("metrics", "logs"))
    assert told.status == 1


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_black_hole(tmp_path: Path, protocol: str) -> None:
    """The wait is bounded, and told."""
    with black_hole() as address:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}", "OTEL_PIPELINE_PROTOCOL": protocol}
        told = ask(tmp_path, endpoint)
    assert ": timeout: " in told.rows("collector")["traces"]["value"]
    assert told.status == 1


def test_another_protocol(tmp_path: Path) -> None:
    """gRPC to a port for HTTP, and HTTP to a port for gRPC: each says that."""
    with serving(tmp_path) as served:
        for protocol, address in (("grpc", served.http), ("http/protobuf", served.grpc)):
            endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}", "OTEL_PIPELINE_PROTOCOL": protocol}
            told = ask(tmp_path, endpoint)
            row = told.rows("collector")["traces"]
            assert ": protocol: " in row["value"], row
            assert "4317 for grpc" in row["todo"]


def test_no_tls_there(tmp_path: Path) -> None:
    """https:// to a server without TLS."""
    with answering(200) as url:
        told = ask(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": url.replace("http", "https")})
    assert ": TLS: " in told.rows("collector")["traces"]["value"]


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    """Told, with the variable that names its authority; with that, it answers."""
    crt, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(crt)]
    try:
        subprocess.run([*command, *extension], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no usable openssl command")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer."""
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            try:
                with context.wrap_socket(request, server_side=True) as secure:
                    super().finish_request(secure, client_address)
            except OSError:
                return

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{server.server_address[1]}"}
        told = ask(tmp_path, endpoint)
        trusting = ask(tmp_path, endpoint | {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(crt)})
        server.shutdown()
    row = told.rows("collector")["traces"]
    assert ": TLS: " in row["value"]
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in row["todo"]
    assert trusting.rows("collector")["traces"]["state"] == "fine"


def test_without_an_endpoint_all_is_well(tmp_path: Path) -> None:
    """Nothing is contacted, and it says where runs go."""
    told = ask(tmp_path)
    assert "kept on this machine" in told.rows("collector")["endpoint"]["value"]
    assert told.status == 0
    assert list(told.report["sections"]) == [check.name for check in CHECKS]


def test_turned_off(tmp_path: Path) -> None:
    """By OTEL_SDK_DISABLED: told, and no request is made."""
    told = ask(tmp_path, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{closed_port()}"})
    assert told.rows("variables")["OTEL_SDK_DISABLED"]["state"] == "note"
    assert told.rows("collector")["endpoint"]["state"] == "note"
    assert told.status == 0


def test_each_setting_has_its_origin(tmp_path: Path) -> None:
    """A variable of ours, one of OpenTelemetry's, the config file by its path, or the default."""
    file = tmp_path / "otel-pipeline.yaml"
    file.write_text("version: 1.2.3\nexit_timeout: 7\n")
    told = ask(
        tmp_path, {"OTEL_SERVICE_NAME": "orders", "OTEL_PIPELINE_EXIT_TIMEOUT": "9", "OTEL_PIPELINE_LOGS": "off"}
    )
    found = told.rows("settings")
    assert [(found[name]["value"], found[name]["origin"]) for name in ("service_name", "exit_timeout", "version")] == [
        ("orders", "OTEL_SERVICE_NAME"),
        ("9.0", "OTEL_PIPELINE_EXIT_TIMEOUT"),
        ("1.2.3", str(file)),
    ]
    assert (found["logs"]["value"], found["heartbeat_interval"]["origin"]) == ("false", "default")


def test_what_cannot_be_used_or_is_misspelt(tmp_path: Path) -> None:
    """Is wrong, with the nearest name."""
    wrong = {"OTEL_PIPELINE_EXIT_TIMEOT": "1", "OTEL_PIPELINE_PROTOCOL": "pigeon", "OTEL_TRACES_EXPORTER": "pigeon"}
    told = ask(tmp_path, wrong)
    found = told.rows("settings")
    assert "did you mean OTEL_PIPELINE_EXIT_TIMEOUT?" in found["misspelt"]["value"]
    assert "OTEL_PIPELINE_PROTOCOL='pigeon': want one of" in found["cannot be used"]["value"]
    assert "nothing provides the exporter 'pigeon'" in told.rows("collector")["traces"]["value"]
    assert told.status == 1


def test_secrets_are_masked(tmp_path: Path) -> None:
    """In endpoints, headers and the store's URL."""
    told = ask(
        tmp_path,
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://etl:{SECRET}@{closed_port()}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SECRET},x-scope={SECRET}",
            "OTEL_PIPELINE_STORE": f"postgresql://etl:{SECRET}@db.example/shop",
            "OTEL_RESOURCE_ATTRIBUTES": f"a=b,api_key={SECRET}",
            "HTTP_PROXY": f"http://etl:{SECRET}@{closed_port()}",
            "NO_PROXY": "*",
        },
    )
    assert SECRET not in told.text
    assert "x-scope=***" in told.text
    assert "postgresql://etl:***@db.example/shop" in told.text


def test_what_waits_and_what_was_refused(tmp_path: Path) -> None:
    """Counts and ages of both queues; rejected records are wrong, and say what to do."""
    folder = tmp_path / "queue"
    for place in (folder, folder / "embedded"):
        queue = Queue.open(QueueSettings(place))
        queue.append(Signal.TRACES, b"\x0a\x00", count=3)
        queue.close()
    told = ask(tmp_path)
    assert told.rows("queue")["to be sent"]["value"].startswith("3 traces, the oldest ")
    assert told.rows("queue")["for the store"]["value"].startswith("3 traces, the oldest ")
    assert told.status == 0
    (waiting,) = folder.glob("*.q")
    waiting.rename(waiting.with_suffix(".rejected"))
    told = ask(tmp_path)
    row = told.rows("queue")["to be sent, rejected"]
    assert (row["state"], row["value"][:8]) == ("wrong", "3 traces")
    assert "otel-pipeline queue list" in row["todo"]
    assert told.status == 1


def test_a_store_that_is_none(tmp_path: Path) -> None:
    """What is no database is wrong; one that is not there yet is not."""
    assert "made when" in ask(tmp_path).rows("store")["file"]["value"]
    (tmp_path / "store.db").write_bytes(b"something else" * 100)
    told = ask(tmp_path)
    assert told.rows("store")["file"]["state"] == "wrong"
    assert told.status == 1


def test_a_store_that_is_there(tmp_path: Path) -> None:
    """Its path and size."""
    with serving(tmp_path):
        pass
    row = ask(tmp_path).rows("store")["file"]
    assert str(tmp_path / "store.db") in row["value"]
    assert "KiB" in row["value"]
    assert row["state"] == "fine"


def test_for_people(tmp_path: Path) -> None:
    """Sections, marks, the verdict and what to do."""
    environ = environment(tmp_path) | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{closed_port()}"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "doctor"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert all(any(line.startswith(check.title) for line in lines) for check in CHECKS)
    assert any(line.startswith("! traces ") for line in lines)
    verdict = lines[lines.index("Wrong: 1") :]
    assert verdict[1].startswith("! traces: ")
    assert verdict[2].strip().startswith("nothing listens there")


def test_works_without_the_extras(tmp_path: Path) -> None:
    """Neither SQLAlchemy nor grpc nor a server library is loaded or needed; it says which extra is missing."""
    hide = (
        "import importlib.machinery as machinery\n"
        "hidden = ('sqlalchemy', 'grpc', 'starlette', 'uvicorn', 'cronsim')\n"
        "found = machinery.PathFinder.find_spec\n"
        "def find(name, path=None, target=None):\n"
        "    return None if name.split('.')[0] in hidden else found(name, path, target)\n"
        "machinery.PathFinder.find_spec = find\n"
    )
    program = hide + MAIN
    environ = environment(tmp_path) | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{closed_port()}"}
    for protocol, cause in (("http/protobuf", ": refused: "), ("grpc", "pip install 'otel-pipeline[grpc]'")):
        done = subprocess.run(
            [sys.executable, "-c", program, "doctor", "--json"],
            env=environ | {"OTEL_PIPELINE_PROTOCOL": protocol},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert cause in done.stdout, done
        assert "pip install 'otel-pipeline[server]'" in done.stdout
        assert done.returncode == 1


def test_a_check_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one row, which is wrong."""

    def broken(situation: object) -> object:
        raise RuntimeError("no idea")

    monkeypatch.setattr(doctor, "CHECKS", (doctor.Check("queue", "Queue", broken), CHECKS[0]))  # type: ignore[arg-type]
    found = doctor.examine({**os.environ})
    assert found["queue"][0].value == "cannot look at it: RuntimeError: no idea"
    assert found["versions"]


def test_each_cause_says_what_to_do() -> None:
    """A table of patterns that compile, each with its way out."""
    assert all(cause.todo and cause.name for cause in CAUSES)
