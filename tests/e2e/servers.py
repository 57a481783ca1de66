"""Starts the real servers on free loopback ports and stops what it started.

A `Program` is a row: the binary, the ports that it opens, how it is told about them, and which address says that it is
ready. A `Server` is one running instance of a program in a folder of its own, with its log beside its data. The
settings are those that users get: the files of `collector-config/` and the command lines of `docker-compose.yml`.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "collector-config"
READY_WITHIN = 60.0
STOPPED_WITHIN = 20.0
PORTS = (10_000, 32_000)
START_ATTEMPTS = 5

Addresses = Mapping[str, str]
"""Port name → ``127.0.0.1:port``."""


class ServerError(Exception):
    """A server could not be started, or did not become ready; the message ends with its log's last lines."""


class PortTaken(ServerError):
    """Somebody else took a port between our choosing it and the server's binding it."""


@dataclass(frozen=True)
class Program:
    """What has to be known to run one of the real servers.

    `arguments` and `environment` get the addresses by port name and the folder in which the server may write. `ready`
    is the port and path that answer 200 once the server takes data. Without a `folder` the binary is in `binaries()`.
    """

    binary: str
    ports: tuple[str, ...]
    arguments: Callable[[Addresses, Path], Sequence[str]]
    ready: tuple[str, str]
    environment: Callable[[Addresses, Path], Mapping[str, str]] = lambda _addresses, _folder: {}
    folder: Callable[[], Path] | None = None


def compose_flags(service: str, *replaced: str) -> list[str]:
    """The command line of a service in docker-compose.yml, without the flags that name a place in its container."""
    command: list[str] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"][service]["command"]
    return [flag for flag in command if flag.split("=")[0] not in replaced]


def _gateway_environment(addresses: Addresses, folder: Path) -> dict[str, str]:
    return {
        "GATEWAY_OTLP_GRPC": addresses["grpc"],
        "GATEWAY_OTLP_HTTP": addresses["http"],
        "GATEWAY_HEALTH": addresses["health"],
        "GATEWAY_STORAGE": str(folder / "storage"),
    }


def _jaeger_environment(addresses: Addresses, folder: Path) -> dict[str, str]:
    return {
        "JAEGER_OTLP_GRPC": addresses["otlp"],
        "JAEGER_QUERY_HTTP": addresses["http"],
        "JAEGER_QUERY_GRPC": addresses["grpc"],
        "JAEGER_HEALTH": addresses["health"],
        "JAEGER_STORAGE": str(folder / "storage"),
    }


def _prometheus_arguments(addresses: Addresses, folder: Path) -> list[str]:
    return [
        f"--config.file={CONFIGS / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'storage'}",
        f"--web.listen-address={addresses['http']}",
        *compose_flags("prometheus", "--config.file", "--storage.tsdb.path", "--web.listen-address"),
    ]


def _victorialogs_arguments(addresses: Addresses, folder: Path) -> list[str]:
    return [
        f"-storageDataPath={folder / 'storage'}",
        f"-httpListenAddr={addresses['http']}",
        *compose_flags("victorialogs", "-storageDataPath", "-httpListenAddr"),
    ]


GATEWAY = Program(
    binary="otelcol-pipeline",
    ports=("grpc", "http", "health"),
    arguments=lambda _addresses, _folder: ["--config", str(CONFIGS / "gateway.yaml")],
    environment=_gateway_environment,
    ready=("health", "/"),
)
JAEGER = Program(
    binary="jaeger",
    ports=("otlp", "http", "grpc", "health"),
    arguments=lambda _addresses, _folder: ["--config", str(CONFIGS / "jaeger.yaml")],
    environment=_jaeger_environment,
    ready=("health", "/status"),
)
PROMETHEUS = Program(binary="prometheus", ports=("http",), arguments=_prometheus_arguments, ready=("http", "/-/ready"))
VICTORIALOGS = Program(
    binary="victoria-logs", ports=("http",), arguments=_victorialogs_arguments, ready=("http", "/health")
)


def _loop_arguments(_addresses: Addresses, folder: Path) -> list[str]:
    """Files that a test has put into the server's folder are laid over the two that users have."""
    files = (CONFIGS / "gateway.yaml", CONFIGS / "processor.yaml", *sorted(folder.glob("*.yaml")))
    return [f"--config={file}" for file in files]


LOOP = replace(GATEWAY, arguments=_loop_arguments)
"""The gateway with the processor beside it; its address is GATEWAY_PROCESSOR."""
PROCESSOR = Program(
    binary="otel-pipeline",
    ports=("grpc", "http"),
    arguments=lambda addresses, _folder: ["serve", "--grpc", addresses["grpc"], "--http", addresses["http"]],
    environment=lambda _addresses, folder: {
        "OTEL_PIPELINE_STORE": str(folder / "store.db"),
        "OTEL_PIPELINE_QUEUE_DIR": str(folder / "queue"),
    },
    ready=("http", "/health/live"),
    folder=lambda: Path(sys.executable).parent,
)
"""`otel-pipeline serve` of this checkout; OTEL_PIPELINE_FORWARD is where its KPI metrics go."""
PROGRAMS = (GATEWAY, JAEGER, PROMETHEUS, VICTORIALOGS)


def binaries() -> Path:
    """The folder in which `make backends` puts the servers, or the one that OTEL_PIPELINE_SERVERS names."""
    script = str(REPOSITORY / "scripts" / "backends")
    return Path(subprocess.run([script, "--where"], check=True, capture_output=True, text=True).stdout.strip())


def missing_binaries() -> list[str]:
    """The names of the programs that are not there yet; empty when the tests can run."""
    if shutil.which("bash") is None:
        return [program.binary for program in PROGRAMS]
    folder = binaries()
    return [program.binary for program in PROGRAMS if not os.access(folder / program.binary, os.X_OK)]


def free_addresses(names: Sequence[str]) -> dict[str, str]:
    """As many different free loopback addresses as there are names.

    Below the range from which the system takes the ports of outgoing connections: one of those could sit on the port of
    a server that is being restarted.
    """
    found: dict[str, str] = {}
    with ExitStack() as held:
        for name in names:
            found[name] = f"127.0.0.1:{_bound(held)}"
    return found


def _bound(held: ExitStack) -> int:
    for _ in range(1000):
        port = random.randrange(*PORTS)
        each = socket.socket()
        try:
            each.bind(("127.0.0.1", port))
        except OSError:
            each.close()
            continue
        held.enter_context(each)
        return port
    raise ServerError(f"no free port from {PORTS[0]} to {PORTS[1]}")


@dataclass
class Server:
    """One instance of a program; its addresses and its folder stay the same over stop, kill and start.

    Example:
        >>> gateway = Server(GATEWAY, folder, {"GATEWAY_JAEGER": jaeger.address("otlp")})  # doctest: +SKIP
        >>> gateway.start_on_free_ports()  # doctest: +SKIP
        >>> gateway.kill(); gateway.start()  # doctest: +SKIP
    """

    program: Program
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the server wrote to its standard output and error, over all its starts."""
        return self.folder / f"{self.program.binary}.log"

    @property
    def running(self) -> bool:
        """Whether the process is there; it need not be ready."""
        return self._process is not None and self._process.poll() is None

    def address(self, port: str) -> str:
        """``127.0.0.1:port`` of a named port."""
        return self.addresses[port]

    def url(self, port: str) -> str:
        """``http://127.0.0.1:port`` of a named port."""
        return f"http://{self.addresses[port]}"

    def tail(self, lines: int = 30) -> str:
        """The log's last lines, each cut to a length that a person reads."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(line[:400] for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    def reserve(self) -> Server:
        """Choose free ports without starting: the addresses of a server that is not there yet."""
        self.addresses = free_addresses(self.program.ports)
        return self

    def start_on_free_ports(self) -> Server:
        """Choose ports and start; again with others when somebody else was faster."""
        for attempt in range(START_ATTEMPTS):
            try:
                return self.reserve()._start_once()
            except PortTaken:
                if attempt == START_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def start(self) -> Server:
        """Start on the present addresses and wait until the server takes data.

        Raises:
            PortTaken: a port is in use, and stays so.
            ServerError: the server ended, or was not ready in time.
        """
        for attempt in range(START_ATTEMPTS):
            try:
                return self._start_once()
            except PortTaken:
                if attempt == START_ATTEMPTS - 1:
                    raise
                time.sleep(1)
        raise AssertionError("unreachable")

    def _start_once(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.program.folder() if self.program.folder is not None else binaries()
        command = [str(place / self.program.binary), *self.program.arguments(self.addresses, self.folder)]
        # Not the tests' whole environment: an OTEL_* of the developer's would reach the servers' own telemetry.
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment.update(self.program.environment(self.addresses, self.folder))
        environment.update(self.environment)
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_ready(begin)
        except ServerError:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Ask the server to end, as a service manager does, and kill it when it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server as SIGKILL or a crash does: without a chance to save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop it where it is, as one that hangs: it keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> Server:
        """Stop, then start on the same addresses and folder."""
        self.stop()
        return self.start()

    def _wait_until_ready(self, begin: int) -> None:
        port, path = self.program.ready
        url = self.url(port) + path
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if not self.running:
                raise self._ended(begin)
            if _answers(url):
                return
            time.sleep(0.05)
        raise ServerError(f"{self.program.binary} was not ready within {READY_WITHIN:.0f} s at {url}\n{self.tail()}")

    def _ended(self, begin: int) -> ServerError:
        with self.log.open("rb") as log:
            log.seek(begin)
            said = log.read().decode(errors="replace")
        kind = PortTaken if re.search("address already in use", said, re.IGNORECASE) else ServerError
        return kind(f"{self.program.binary} ended instead of becoming ready\n{self.tail()}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        pass
    return False
