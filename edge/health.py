"""What the box says of itself: rates, latencies, queue, temperature, memory, disk, versions."""

import os
import platform
import resource
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from edge.frame import Frame
from edge.outbox import Outbox
from edge.pipeline import software_version
from edge.records import Record, rfc3339

# The latest latencies that percentiles are made of: a minute at 10 results a second.
LATENCY_WINDOW = 600


class Health:
    """Counts what the daemon does and writes it up."""

    def __init__(self, outbox: Outbox, outbox_file: Path):
        self._outbox, self._outbox_file = outbox, outbox_file
        self._started = time.monotonic()
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)
        self.accepted = 0
        self.referred = 0
        self.unreadable = 0
        self.camera = "opening"

    def result(self, frame: Frame, record: Record) -> None:
        """Count one result."""
        self.accepted += 1
        self.referred += record.verdict == "refer"
        self._latencies_ms.append((time.monotonic_ns() - frame.monotonic_ns) / 1e6)

    def report(self, broker: str) -> bytes:
        """The health message as JSON.

        Args:
            broker: "connected, MQTT 5", "not connected: …".
        """
        uptime_s = time.monotonic() - self._started
        latencies = sorted(self._latencies_ms)
        message: dict[str, Any] = {
            "at": rfc3339(time.time_ns()),
            "uptime_s": round(uptime_s, 1),
            "frames": {"accepted": self.accepted, "referred": self.referred, "unreadable": self.unreadable},
            "rate_per_s": round(self.accepted / uptime_s, 2) if uptime_s else 0.0,
            "latency_ms": {
                name: round(latencies[int(share * (len(latencies) - 1))], 2)
                for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
                if latencies
            },
            "outbox": self._outbox.report(),
            "temperature_c": temperature_c(),
            "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "disk_free_mb": shutil.disk_usage(self._outbox_file.parent).free // 2**20,
            "load": os.getloadavg()[0],
            "camera": self.camera,
            "broker": broker,
            "versions": {"software": software_version(), "python": platform.python_version()},
        }
        return msgspec.json.encode(message)


def temperature_c() -> float | None:
    """The hottest thermal zone in °C, or None where the machine shows none."""
    readings = []
    for zone in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            readings.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):  # a zone may be switched off
            continue
    return max(readings, default=None)
