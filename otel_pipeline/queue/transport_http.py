"""OTLP over HTTP, on the standard library's client.

Loaded on the sender's thread. `http.client` costs half of the CPU time and memory of `requests`; what it lacks here
(connection reuse per endpoint, proxies, one bound for the whole exchange) is below.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - connecting loads it, which fails when the interpreter is already leaving
import gzip
import http.client
import math
import ssl
import time
from base64 import b64encode
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from otel_pipeline.queue.format import Signal
from otel_pipeline.queue.partial import read_answer
from otel_pipeline.queue.settings import SenderSettings, signal_endpoint
from otel_pipeline.queue.transport import Accepted, Outcome, Rejected, Retry, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HttpTransport"]

_RETRYABLE: Final = frozenset((429, 502, 503, 504))
_ANSWER_LIMIT: Final = 64 << 10
_FASTEST_GZIP: Final = 1  # a third of the time of the default level for 7 % more bytes


class HttpTransport:
    """POSTs requests, one kept connection per endpoint; the rules are those of the OTLP/HTTP specification."""

    def __init__(self, settings: SenderSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._urls = {signal: _split(signal_endpoint(settings, signal)) for signal in Signal}
        self._proxy = _split(settings.proxy) if settings.proxy else None
        secure = any(url.scheme == "https" for url in self._urls.values())
        self._tls = _tls(settings) if secure else None
        self._connections: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "otel-pipeline", **settings.headers}
        if settings.compression == "gzip":
            self._headers["Content-Encoding"] = "gzip"

    def send(self, signal: Signal, body: bytes, timeout_s: float) -> Outcome:
        """One exchange; a kept connection that the server closed meanwhile is opened again once."""
        if self._settings.compression == "gzip":
            body = gzip.compress(body, _FASTEST_GZIP, mtime=0)
        url = self._urls[signal]
        deadline = time.monotonic() + timeout_s
        for _ in range(2):
            kept = (url.scheme, url.netloc) in self._connections
            try:
                return self._exchange(url, body, deadline)
            except (OSError, http.client.HTTPException) as error:
                self._forget(url)
                reason = f"{url.scheme}://{url.netloc}: {error or type(error).__name__}"
                if not kept or isinstance(error, TimeoutError):
                    break
        return Retry(reason)

    def reach(self, signal: Signal, timeout_s: float) -> Retry | None:
        """Connect, where no connection is kept; why that failed, if it did."""
        url = self._urls[signal]
        try:
            connection = self._connection(url)
            if connection.sock is None:
                _bound(connection, time.monotonic() + timeout_s)
                connection.connect()
        except (OSError, http.client.HTTPException) as error:
            self._forget(url)
            return Retry(f"{url.scheme}://{url.netloc}: {error or type(error).__name__}")
        return None

    def _exchange(self, url: SplitResult, body: bytes, deadline: float) -> Outcome:
        connection = self._connection(url)
        _bound(connection, deadline)
        target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        headers = self._headers
        if self._proxy and url.scheme == "http":
            target = f"{url.scheme}://{url.netloc}{target}"
            headers = headers | _authorization(self._proxy)
        if connection.sock is None:
            connection.connect()
            _bound(connection, deadline)
        connection.request("POST", target, body, headers)
        _bound(connection, deadline)
        response = connection.getresponse()
        _bound(connection, deadline)
        answer = response.read(_ANSWER_LIMIT)
        if response.will_close or not response.isclosed():
            self._forget(url)
        return self._outcome(response, answer)

    def _outcome(self, response: http.client.HTTPResponse, answer: bytes) -> Outcome:
        status = response.status
        if 200 <= status < 300:
            return read_answer(answer) if "protobuf" in (response.headers.get("Content-Type") or "") else Accepted()
        reason = f"HTTP {status} {response.reason}"
        if status in _RETRYABLE:
            return Retry(reason, retry_after(response.headers.get("Retry-After"), self._clock()))
        return TooLarge(reason) if status == 413 else Rejected(reason)

    def _connection(self, url: SplitResult) -> http.client.HTTPConnection:
        key = (url.scheme, url.netloc)
        if key not in self._connections:
            self._connections[key] = self._connect(url)
        return self._connections[key]

    def _connect(self, url: SplitResult) -> http.client.HTTPConnection:
        secure = url.scheme == "https"
        via = self._proxy or url
        host, port = via.hostname or "", via.port or (443 if via.scheme == "https" else 80)
        connection: http.client.HTTPConnection
        if secure:
            connection = http.client.HTTPSConnection(host, port, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, port)
        if secure and self._proxy:
            connection.set_tunnel(url.hostname or "", url.port or 443, _authorization(self._proxy))
        return connection

    def _forget(self, url: SplitResult) -> None:
        connection = self._connections.pop((url.scheme, url.netloc), None)
        if connection:
            connection.close()

    def close(self) -> None:
        """Close the kept connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def abandon(self) -> None:
        """The child's copies of the descriptors are closed, which neither end of a connection sees."""
        self.close()


def _bound(connection: http.client.HTTPConnection, deadline: float) -> None:
    """Give the next step of the exchange what is left of its time; raises `TimeoutError` when that is nothing."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.timeout = left
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"cannot send to {url!r}: want http://HOST[:PORT] or https://HOST[:PORT]")
    return parts


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()}


def _tls(settings: SenderSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(settings.certificate) if settings.certificate else None)
    if settings.client_certificate:
        key = str(settings.client_key) if settings.client_key else None
        context.load_cert_chain(str(settings.client_certificate), key)
    return context


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header (RFC 9110: seconds or a date), None without a usable one.

    `now` is in seconds since the epoch.

    >>> retry_after("120", now=0.0)
    120.0
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
