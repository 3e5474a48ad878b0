"""What the box says of itself: rates, latencies, queue, camera and broker, machine, restarts, versions."""

import os
import platform
import time
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from edge.daemon.pipeline import software_version
from edge.health import metrics
from edge.health.runlog import Restarts
from edge.host import machine
from edge.imaging.frame import Frame
from edge.notice import NOTICE
from edge.outbox.queue import Outbox
from edge.records import ModelReference, Record, rfc3339

# The latest results that percentiles and the rate are made of: a minute at 10 results a second.
WINDOW = 600
# The rate is that of the last minute: an average since the start hides that a box stands still.
RATE_WINDOW_S = 60.0
STAGES = ("preprocess", "invoke", "total")
_PERCENTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


class Health:
    """Counts what the daemon does and writes it up. Any thread may ask for a report.

    Attributes:
        referred: results that a person has to look at.
        skipped: frames that the camera gave and that became no result: a newer one came, or no trigger.
        withheld: frames that were black, white or the same as the one before.
        camera_faults: how often the camera failed.
        unreadable: images of a folder that could not be read.
        camera: "opening", "ok", or what is wrong.
        connections: how often the broker has accepted a connection.

    Args:
        outbox: what waits for the broker.
        folder: where the outbox lies; its disk is watched.
        model: which model file runs.
        restarts: how runs before this one ended.
    """

    def __init__(self, outbox: Outbox, folder: Path, model: ModelReference, restarts: Restarts):
        self._outbox, self._folder, self._model, self._restarts = outbox, folder, model, restarts
        self._started = time.monotonic()
        self._ended_at: deque[float] = deque(maxlen=WINDOW)
        self._latencies_ms: dict[str, deque[float]] = {stage: deque(maxlen=WINDOW) for stage in STAGES}
        self._histograms = {stage: metrics.Histogram() for stage in STAGES}
        self.accepted = self.referred = self.skipped = self.unreadable = 0
        self.withheld = self.camera_faults = self.connections = 0
        self.camera = "opening"

    def result(self, frame: Frame, record: Record) -> None:
        """Count one result; "total" is from the moment of capture to the outbox."""
        now_s = time.monotonic()
        self.accepted += 1
        self.referred += record.verdict == "refer"
        self._ended_at.append(now_s)
        durations_ms = {**record.timings_ms, "total": now_s * 1e3 - frame.monotonic_ns / 1e6}
        for stage in STAGES:
            if stage in durations_ms:
                self._latencies_ms[stage].append(durations_ms[stage])
                self._histograms[stage].observe(durations_ms[stage])

    def report(self, broker: str, watchdog: str = "") -> dict[str, Any]:
        """The health message.

        Args:
            broker: "connected, MQTT 5", "not connected: …".
            watchdog: why systemd is not being fed, or "".
        """
        uptime_s = time.monotonic() - self._started
        memory_mb, disk_mb = machine.memory_mb(), machine.disk_mb(self._folder)
        return {
            "at": rfc3339(time.time_ns()),
            "uptime_s": round(uptime_s, 1),
            "notice": NOTICE,
            "frames": {
                "accepted": self.accepted,
                "referred": self.referred,
                "skipped": self.skipped,
                "withheld": self.withheld,
                "unreadable": self.unreadable,
            },
            "rate_per_s": self._rate_per_s(uptime_s),
            "latency_ms": _percentiles(self._latencies_ms["total"]),
            "stages_ms": {stage: _percentiles(values) for stage, values in self._latencies_ms.items()},
            "outbox": self._outbox.report(),
            "temperature_c": machine.temperature_c(),
            "throttling": machine.throttling(),
            "memory_mb": memory_mb["process"],
            "memory_available_mb": memory_mb["available"],
            "disk_free_mb": disk_mb["free"],
            "disk_total_mb": disk_mb["total"],
            "load": os.getloadavg()[0],
            "camera": self.camera,
            "camera_faults": self.camera_faults,
            "broker": broker,
            "reconnects": max(0, self.connections - 1),
            "watchdog": watchdog or "ok",
            "restarts": msgspec.to_builtins(self._restarts),
            "model": msgspec.to_builtins(self._model),
            "versions": versions(),
        }

    def prometheus(self, broker: str, watchdog: str = "") -> str:
        """The same figures for Prometheus."""
        report = self.report(broker, watchdog)
        frames: dict[metrics.Labels, float] = {
            (("kind", kind),): float(count) for kind, count in report["frames"].items()
        }
        waiting = report["outbox"]
        now = (report["throttling"] or {"now": []})["now"]
        gauges = {
            "outbox_records": ("Records that wait for the broker", waiting["depth"]),
            "outbox_age_seconds": ("Age of the oldest record that waits", waiting["oldest_age_s"]),
            "temperature_celsius": ("The hottest thermal zone", report["temperature_c"]),
            "memory_bytes": ("Resident memory of the daemon", report["memory_mb"] * 2**20),
            "memory_available_bytes": ("Memory the machine has left", report["memory_available_mb"] * 2**20),
            "disk_free_bytes": ("Space left beside the outbox", report["disk_free_mb"] * 2**20),
            "broker_connected": ("1 while the broker has accepted us", float(broker.startswith("connected"))),
            "camera_ok": ("1 while the camera gives frames", float(self.camera == "ok")),
            "watchdog_ok": ("1 while work completes", float(not watchdog)),
            "uptime_seconds": ("Since the daemon started", report["uptime_s"]),
        }
        counters = {
            "camera_faults_total": ("How often the camera failed", report["camera_faults"]),
            "reconnects_total": ("Connections to the broker after the first", report["reconnects"]),
            "restarts_total": ("Unwanted ends of the daemon", report["restarts"]["count"]),
        }
        name = "leukoscope_"
        return "".join(
            [
                metrics.counter(f"{name}frames_total", "Frames by what became of them", frames),
                metrics.histograms(f"{name}stage_seconds", "Duration of each stage", self._histograms),
                *(metrics.gauge(name + key, text, _sample(value)) for key, (text, value) in gauges.items()),
                *(
                    metrics.counter(name + key, text, _sample(value))
                    for key, (text, value) in counters.items()
                ),
                metrics.gauge(
                    f"{name}throttled", "What holds it back", {(("why", why),): 1.0 for why in now}
                ),
                metrics.gauge(f"{name}info", "Versions", {tuple(versions().items()): 1.0}),
            ]
        )

    def _rate_per_s(self, uptime_s: float) -> float:
        now = time.monotonic()
        recent = sum(now - ended <= RATE_WINDOW_S for ended in list(self._ended_at))
        if recent == WINDOW:  # more than the window holds in a minute: over the time that it spans
            return round(WINDOW / max(now - self._ended_at[0], 1e-9), 2)
        return round(recent / max(min(uptime_s, RATE_WINDOW_S), 1e-9), 2)


def _sample(value: float | None) -> dict[metrics.Labels, float]:
    return {} if value is None else {(): float(value)}


def _percentiles(values: deque[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        name: round(ordered[int(share * (len(ordered) - 1))], 2) for name, share in _PERCENTILES if ordered
    }


def versions() -> dict[str, str]:
    """Software, Python, interpreter of the network, OpenCV, system and board; what is absent is left out."""
    found = {
        "software": software_version(),
        "python": platform.python_version(),
        "system": machine.operating_system(),
        "kernel": platform.release(),
        "board": machine.board(),
    }
    for package in (
        "ai-edge-litert",
        "tflite-runtime",
        "opencv-python-headless",
        "numpy",
        "paho-mqtt",
        "picamera2",
    ):
        try:
            found[package.replace("-", "_")] = version(package)
        except PackageNotFoundError:
            continue
    return {name: text for name, text in found.items() if text}
