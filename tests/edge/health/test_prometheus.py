"""What Prometheus gets, and what it must not be able to break."""

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from broker import Mosquitto, eventually, free_port
from systemd_socket import ROOT, daemon, write_settings

from edge.errors import InputError, LeukoscopeError
from edge.health.metrics import BUCKETS_MS, Histogram, MetricsServer, gauge, histograms

LINE = re.compile(
    r'^(?P<name>[a-z_]+)(?:\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (?P<value>\S+)$'
)


def samples(text: str) -> dict[str, float]:
    """Every line that is no comment, by name and labels; fails on one that is not in the format."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.match(line)
            assert match, line
            found[line.rpartition(" ")[0]] = float(match["value"])
    return found


def fetch(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def test_a_working_box_shows_its_figures(tmp_path: Path) -> None:
    port = free_port()
    with Mosquitto(tmp_path) as broker:
        broker.start()
        with daemon(write_settings(tmp_path, broker.port), "--metrics", f"127.0.0.1:{port}"):
            found = eventually(lambda: working(port), 40)
    assert found["leukoscope_broker_connected"] == found["leukoscope_camera_ok"] == 1
    assert found["leukoscope_watchdog_ok"] == 1
    for stage in ("preprocess", "invoke", "total"):
        buckets = [
            found[f'leukoscope_stage_seconds_bucket{{stage="{stage}",le="{edge}"}}']
            for edge in [*(f"{bound / 1000:g}" for bound in BUCKETS_MS), "+Inf"]
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == found[f'leukoscope_stage_seconds_count{{stage="{stage}"}}'] > 5
        assert 0 < found[f'leukoscope_stage_seconds_sum{{stage="{stage}"}}'] < 100
    assert found["leukoscope_reconnects_total"] == found["leukoscope_restarts_total"] == 0
    assert found["leukoscope_disk_free_bytes"] > 0
    assert found["leukoscope_memory_bytes"] > 10e6


def working(port: int) -> dict[str, float] | None:
    try:
        found = samples(fetch(port))
    except OSError:
        return None
    enough = found.get('leukoscope_frames_total{kind="accepted"}', 0) > 5
    return found if enough and found["leukoscope_broker_connected"] else None


def test_buckets_hold_what_is_at_their_bound_and_labels_are_escaped() -> None:
    histogram = Histogram()
    for duration_ms in (1.0, 1.1, 99999.0):
        histogram.observe(duration_ms)
    found = samples(histograms("h", "Text", {"a": histogram}))
    assert found['h_bucket{stage="a",le="0.001"}'] == 1
    assert found['h_bucket{stage="a",le="0.0025"}'] == 2
    assert found['h_bucket{stage="a",le="5"}'] == 2
    assert found['h_bucket{stage="a",le="+Inf"}'] == found['h_count{stage="a"}'] == 3
    assert samples(gauge("g", "Text", {(("why", 'a "b"\n\\'),): 2.0})) == {r'g{why="a \"b\"\n\\"}': 2.0}


def test_only_metrics_are_answered_and_a_client_that_says_nothing_blocks_nobody() -> None:
    server = MetricsServer("127.0.0.1:0", lambda: "x 1\n")
    with socket.create_connection(("127.0.0.1", server.port)):
        assert fetch(server.port) == "x 1\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(server.port, "/etc/passwd")
    server.close()


def test_a_wrong_or_taken_address_is_named() -> None:
    for address in ("9108", ":9108", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"):
        with pytest.raises(InputError, match="HOST:PORT"):
            MetricsServer(address, str)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LeukoscopeError, match="in use"):
            MetricsServer(f"127.0.0.1:{taken.getsockname()[1]}", str)


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
