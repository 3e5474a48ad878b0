"""Figures for Prometheus, in its text format: https://prometheus.io/docs/instrumenting/exposition_formats/"""

import bisect
import http.server
import logging
import socket
import threading
from collections.abc import Callable, Mapping

from edge.errors import InputError, LeukoscopeError

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Upper bounds in milliseconds: from a network of 0.25/128 on a Pi 5 to a stage that is stuck.
BUCKETS_MS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0)
REQUEST_TIMEOUT_S = 5.0

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts durations in milliseconds. One thread observes, others may read."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_MS) + 1)  # the last is what is above all bounds
        self.sum_ms = 0.0

    def observe(self, duration_ms: float) -> None:
        """Count one duration."""
        self.counts[bisect.bisect_left(BUCKETS_MS, duration_ms)] += 1
        self.sum_ms += duration_ms


def counter(name: str, text: str, samples: Mapping[Labels, float]) -> str:
    """A counter's lines; its name ends in "_total"."""
    return _family(name, "counter", text, samples)


def gauge(name: str, text: str, samples: Mapping[Labels, float]) -> str:
    """A gauge's lines."""
    return _family(name, "gauge", text, samples)


def histograms(name: str, text: str, by_stage: Mapping[str, Histogram]) -> str:
    """A histogram's lines, in seconds as Prometheus has it, with the label "stage"."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
    for stage, histogram in by_stage.items():
        counts, total = list(histogram.counts), 0
        for bound, count in zip((*BUCKETS_MS, None), counts):
            total += count
            edge = "+Inf" if bound is None else f"{bound / 1000:g}"
            lines.append(f"{name}_bucket{_labels((('stage', stage), ('le', edge)))} {total}")
        lines.append(f"{name}_sum{_labels((('stage', stage),))} {histogram.sum_ms / 1000:g}")
        lines.append(f"{name}_count{_labels((('stage', stage),))} {total}")
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, samples: Mapping[Labels, float]) -> str:
    if not samples:
        return ""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in samples.items()]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = (
        (name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"


class MetricsServer:
    """Answers GET /metrics on one address, in threads of its own.

    Args:
        address: "HOST:PORT"; port 0 for a free one.
        text: makes the answer.

    Raises:
        InputError: the address is not HOST:PORT.
        LeukoscopeError: nothing can listen there.
    """

    def __init__(self, address: str, text: Callable[[], str]):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise InputError(f"--metrics {address}: give HOST:PORT, such as 127.0.0.1:9108")
        handler = type("Handler", (_Handler,), {"text": staticmethod(text)})
        try:
            self._server = _Server((host.strip("[]"), int(port)), handler)
        except OSError as error:
            raise LeukoscopeError(f"--metrics {address}: {error.strerror or error}") from error
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics on http://%s:%d/metrics", host, self.port)

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type["_Handler"]):
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_S
    text: Callable[[], str]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "see /metrics")
            return
        body = self.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Prometheus asks every few seconds: no line for each."""
