"""What the box reports about itself: rates, latencies, queue, camera and broker, machine, restarts, versions."""

import os
import platform
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edge.health.histograms import Histogram, histograms
from edge.health.runlog import Restarts
from edge.host import machine
from edge.imaging.frame import Frame
from edge.notice import NOTICE
from edge.records import ModelReference, Record, rfc3339

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

# The latest results that percentiles and the rate are made of: a minute at 10 results a second.
WINDOW = 600
# The rate is that of the last minute: an average since the start hides that a box stands still.
RATE_WINDOW_S = 60.0
STAGES = ("preprocess", "invoke", "total")
# On a Raspberry Pi throttling is asked of another program, so not at each message.
THROTTLING_KEPT_S = 30.0
_PERCENTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


class Waiting(Protocol):
    """What health asks of the outbox."""

    def report(self) -> dict[str, Any]:
        """How much waits, for how long, and what is wrong."""


class Health:
    """Counts what the daemon does and makes the health message of it. Any thread may ask for a report.

    Attributes:
        referred: results that a person has to look at.
        verdicts: results by what they count as: a class, "refer", or "other" if the cell is not lymphoid.
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

    def __init__(self, outbox: Waiting, folder: Path, model: ModelReference, restarts: Restarts):
        self._outbox, self._folder, self._model, self._restarts = outbox, folder, model, restarts
        self._started = time.monotonic()
        self._ended_at: deque[float] = deque(maxlen=WINDOW)
        self._latencies_ms: dict[str, deque[float]] = {stage: deque(maxlen=WINDOW) for stage in STAGES}
        self._histograms = {stage: Histogram() for stage in STAGES}
        self.accepted = self.referred = self.skipped = self.unreadable = 0
        self.withheld = self.camera_faults = self.connections = 0
        self.verdicts: Counter[str] = Counter()
        self.camera = "opening"
        self._throttling = _Kept(machine.throttling, THROTTLING_KEPT_S)

    def use(self, model: ModelReference) -> None:
        """From now on another model file runs."""
        self._model = model

    def result(self, frame: Frame, record: Record) -> None:
        """Count one result; "total" is from the moment of capture to the outbox."""
        now_s = time.monotonic()
        self.accepted += 1
        self.referred += record.verdict == "refer"
        self.verdicts["other" if record.kind == "other" else record.verdict] += 1
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
            "throttling": self._throttling.get(),
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

    def metrics(self, broker: str, watchdog: str = "") -> "Iterable[Metric]":
        """The same for Prometheus; needs prometheus-client."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        report = self.report(broker, watchdog)
        frames = CounterMetricFamily("leukoscope_frames", "Frames by what became of them", labels=["kind"])
        for kind, count in report["frames"].items():
            frames.add_metric([kind], count)
        yield frames
        results = CounterMetricFamily(
            "leukoscope_results", "Results by what they count as; no diagnosis", labels=["counted"]
        )
        for name, count in self.verdicts.copy().items():
            results.add_metric([name], count)
        yield results
        yield histograms("leukoscope_stage_seconds", "Duration of each stage", self._histograms)
        for name, text, value in self._gauges(report, broker, watchdog):
            if value is not None:
                yield GaugeMetricFamily(f"leukoscope_{name}", text, value=value)
        for name, text, count in (
            ("camera_faults", "How often the camera failed", report["camera_faults"]),
            ("reconnects", "Connections to the broker after the first", report["reconnects"]),
            ("restarts", "Unwanted ends of the daemon", report["restarts"]["count"]),
        ):
            yield CounterMetricFamily(f"leukoscope_{name}", text, value=count)
        throttled = GaugeMetricFamily("leukoscope_throttled", "What slows the board down", labels=["why"])
        for why in (report["throttling"] or {"now": []})["now"]:
            throttled.add_metric([why], 1)
        yield throttled
        yield InfoMetricFamily("leukoscope", "Versions", value=versions())

    def _gauges(
        self, report: dict[str, Any], broker: str, watchdog: str
    ) -> "Iterable[tuple[str, str, float | None]]":
        waiting = report["outbox"]
        yield "outbox_records", "Records that wait for the broker", waiting["depth"]
        yield "outbox_age_seconds", "Age of the oldest record that waits", waiting["oldest_age_s"]
        yield "outbox_aside_records", "Records that can never be sent", waiting["aside"]
        yield "temperature_celsius", "The hottest thermal zone", report["temperature_c"]
        yield "memory_bytes", "Resident memory of the daemon", report["memory_mb"] * 2**20
        yield (
            "memory_available_bytes",
            "Memory that the machine has left",
            report["memory_available_mb"] * 2**20,
        )
        yield "disk_free_bytes", "Space left beside the outbox", report["disk_free_mb"] * 2**20
        yield "broker_connected", "1 while the broker has accepted us", float(broker.startswith("connected"))
        yield "camera_ok", "1 while the camera gives frames", float(self.camera == "ok")
        yield "watchdog_ok", "1 while work completes", float(not watchdog)
        yield "uptime_seconds", "Since the daemon started", report["uptime_s"]

    def _rate_per_s(self, uptime_s: float) -> float:
        now = time.monotonic()
        recent = sum(now - ended <= RATE_WINDOW_S for ended in list(self._ended_at))
        if recent == WINDOW:  # more than the window holds in a minute: over the time that it spans
            return round(WINDOW / max(now - self._ended_at[0], 1e-9), 2)
        return round(recent / max(min(uptime_s, RATE_WINDOW_S), 1e-9), 2)


def _percentiles(values: deque[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        name: round(ordered[int(share * (len(ordered) - 1))], 2) for name, share in _PERCENTILES if ordered
    }


class _Kept:
    """A value that is made anew when it is older than `kept_s` seconds."""

    def __init__(self, make: Callable[[], Any], kept_s: float):
        self._make, self._kept_s = make, kept_s
        self._made_at = -kept_s
        self._value: Any = None

    def get(self) -> Any:
        now_s = time.monotonic()
        if now_s - self._made_at >= self._kept_s:
            self._value, self._made_at = self._make(), now_s
        return self._value


def version(package: str) -> str:
    """The version of an installed package, or ""."""
    from importlib import metadata  # late: the first result does not need it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@cache
def versions() -> dict[str, str]:
    """Software, Python, interpreter of the network, OpenCV, system and board; what is absent is left out."""
    found = {
        "software": machine.software_version(),
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
        found[package.replace("-", "_")] = version(package)
    return {name: text for name, text in found.items() if text}
