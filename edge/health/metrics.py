"""Metrics for Prometheus on one address, by prometheus-client."""

import http.server
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from edge.errors import LeukoscopeError
from edge.health.histograms import BUCKETS_MS as BUCKETS_MS
from edge.health.histograms import Histogram as Histogram
from edge.health.histograms import histograms as histograms
from edge.host import threads
from edge.host.address import host_and_port

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0
# Clients at once, each with a thread. One more takes the place of the one that came first: whoever is slow must not
# keep Prometheus out.
CLIENTS_LIMIT = 8

Families = Callable[[], "Iterable[Metric]"]
"""Makes the metrics of this moment."""


class MetricsServer:
    """Answers GET /metrics on one address.

    Args:
        address: "HOST:PORT"; port 0 for a free one.
        families: makes the metrics at each request.

    Raises:
        InputError: the address is not HOST:PORT.
        LeukoscopeError: nothing can listen there, or prometheus-client is not installed.
    """

    def __init__(self, address: str, families: Families):
        host, port = host_and_port(address, "--metrics", "127.0.0.1:9108")
        answer = _answer_maker(families)
        try:
            self._server = _Server((host, port), type("Handler", (_Handler,), {"make": staticmethod(answer)}))
        except OSError as error:
            raise LeukoscopeError(f"--metrics {address}: {error.strerror or error}") from error
        self.port: int = self._server.server_address[1]
        threads.start("metrics", self._server.serve_forever)
        log.info("metrics on http://%s:%d/metrics", f"[{host}]" if ":" in host else host, self.port)

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _answer_maker(families: Families) -> Callable[[str], tuple[bytes, str]]:
    """Makes body and content type of an answer, by what the request accepts."""
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.registry import Collector
    except ImportError as error:
        raise LeukoscopeError(
            "--metrics needs prometheus-client: pip install 'leukoscope[metrics]'"
        ) from error

    class Box(Collector):
        def collect(self) -> "Iterable[Metric]":
            return families()

        def describe(self) -> "Iterable[Metric]":
            return ()  # its names are not asked for beforehand

    registry = CollectorRegistry()
    registry.register(Box())

    def answer(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return answer


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that is slow must not hold up the end

    def __init__(self, address: tuple[str, int], handler: type["_Handler"]):
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._clients: deque[socket.socket] = deque()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            first = self._clients.popleft() if len(self._clients) >= CLIENTS_LIMIT else None
            self._clients.append(request)
        if first is not None:
            try:
                first.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has gone by itself
                log.debug("a client of the metrics had gone already")
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            if request in self._clients:
                self._clients.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in the middle is nothing to report; a traceback for each would fill the log."""
        log.debug("metrics: a client was not answered", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_S
    make: Callable[[str], tuple[bytes, str]]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "see /metrics")
            return
        body, content_type = self.make(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Prometheus asks every few seconds: no line for each."""
