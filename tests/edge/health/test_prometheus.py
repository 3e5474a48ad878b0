"""What Prometheus gets, and what it must not be able to break."""

import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from broker import Mosquitto, eventually, free_port
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from systemd_socket import ROOT, daemon, write_settings

from edge.errors import InputError, LeukoscopeError
from edge.health.metrics import BUCKETS_MS, CLIENTS_LIMIT, Histogram, MetricsServer, histograms


def samples(text: str) -> dict[str, float]:
    """Every sample by name and labels, as Prometheus' own parser reads it."""
    return {
        sample.name
        + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fetch(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return str(answer.read().decode())


def test_a_working_box_shows_its_figures(tmp_path: Path) -> None:
    port = free_port()
    with Mosquitto(tmp_path) as broker:
        broker.start()
        with daemon(write_settings(tmp_path, broker.port), "--metrics", f"127.0.0.1:{port}"):
            found = eventually(lambda: working(port), 120)
    assert found["leukoscope_broker_connected"] == found["leukoscope_camera_ok"] == 1
    assert found["leukoscope_watchdog_ok"] == 1
    for stage in ("preprocess", "invoke", "total"):
        buckets = [
            found[f"leukoscope_stage_seconds_bucket,le={edge},stage={stage}"]
            for edge in [*(f"{bound / 1000}" for bound in BUCKETS_MS), "+Inf"]
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == found[f"leukoscope_stage_seconds_count,stage={stage}"] > 5
        assert 0 < found[f"leukoscope_stage_seconds_sum,stage={stage}"] < 100
    assert found["leukoscope_reconnects_total"] == found["leukoscope_restarts_total"] == 0
    assert found["leukoscope_disk_free_bytes"] > 0
    assert found["leukoscope_memory_bytes"] > 10e6


def working(port: int) -> dict[str, float] | None:
    try:
        found = samples(fetch(port))
    except OSError:
        return None
    enough = found.get("leukoscope_frames_total,kind=accepted", 0) > 5
    return found if enough and found["leukoscope_broker_connected"] else None


class Families:
    """What a collector is to the registry."""

    def __init__(self, *families: Metric):
        self.families = families

    def collect(self) -> tuple[Metric, ...]:
        return self.families


def test_buckets_hold_what_is_at_their_bound() -> None:
    histogram = Histogram()
    for duration_ms in (1.0, 1.1, 99999.0):
        histogram.observe(duration_ms)
    registry = CollectorRegistry()
    registry.register(Families(histograms("h", "Text", {"a": histogram})))
    found = samples(generate_latest(registry).decode())
    assert found["h_bucket,le=0.001,stage=a"] == 1
    assert found["h_bucket,le=0.0025,stage=a"] == 2
    assert found["h_bucket,le=5.0,stage=a"] == 2
    assert found["h_bucket,le=+Inf,stage=a"] == found["h_count,stage=a"] == 3


def one() -> tuple[Metric, ...]:
    return (GaugeMetricFamily("x", "Text", value=1),)


def test_only_metrics_are_answered_and_a_client_that_sends_nothing_blocks_nobody() -> None:
    server = MetricsServer("127.0.0.1:0", one)
    with socket.create_connection(("127.0.0.1", server.port)):
        assert samples(fetch(server.port)) == {"x": 1}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(server.port, "/etc/passwd")
    server.close()


def test_slow_clients_hold_a_bounded_number_of_threads_and_keep_nobody_out() -> None:
    server = MetricsServer("[::1]:0" if socket.has_ipv6 else "127.0.0.1:0", one)
    before = threading.active_count()
    slow = [socket.create_connection(("::1", server.port)) for _ in range(25)]
    try:
        for client in slow:
            client.send(b"GET /metr")
        eventually(lambda: threading.active_count() <= before + CLIENTS_LIMIT, 4)  # below the timeout of one
        with urllib.request.urlopen(f"http://[::1]:{server.port}/metrics", timeout=3) as answer:
            assert samples(answer.read().decode()) == {"x": 1}
    finally:
        for client in slow:
            client.close()
        server.close()


def test_clients_that_reset_leave_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    server = MetricsServer("127.0.0.1:0", one)
    for _ in range(100):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.send(b"GET /metrics HTTP/1.1\r\n\r\n")
        client.close()
    assert samples(fetch(server.port)) == {"x": 1}
    server.close()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_wrong_or_taken_address_is_named() -> None:
    for address in ("9108", ":9108", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"):
        with pytest.raises(InputError, match="HOST:PORT"):
            MetricsServer(address, one)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LeukoscopeError, match="in use"):
            MetricsServer(f"127.0.0.1:{taken.getsockname()[1]}", one)


def test_a_taken_address_ends_the_run_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "edge",
                "run",
                "--config",
                write_settings(tmp_path, free_port()),
                "--metrics",
                address,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"leukoscope: --metrics {address}: " in done.stderr
    assert "Traceback" not in done.stderr
