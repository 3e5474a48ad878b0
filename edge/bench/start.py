"""The daemon as a process: time to its first result on the disk, its memory, and its CPU time when idle."""

import json
import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench import percentiles
from edge.bench.machine import busy, conditions
from edge.cameras.capture import Capture
from edge.cameras.settings import CameraSettings
from edge.daemon.trigger import Gate
from edge.errors import LeukoscopeError
from edge.host import children
from edge.imaging.frame import Frame, Pixels
from edge.model.file import ModelFile

STARTS = 5
IDLE_TRIGGERS = ("request", "settled")
TIMEOUT_S = 60.0
POLL_S = 0.002
AFTER_S = 2.0
"""The memory of the daemon is read this long after its first result."""

FRAMES_PER_S = 30.0


class PacedCamera:
    """A live camera that costs no CPU time: prepared frames, 30 per second."""

    live = True
    description = "frames of the bench"

    def __init__(self, images: list[Pixels]):
        self._images = cycle(images)
        self._due_s = 0.0

    def open(self) -> None:
        """Nothing to open."""

    def read(self) -> Frame:
        """The next frame, at its time."""
        self._due_s = max(self._due_s + 1.0 / FRAMES_PER_S, time.monotonic())
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        return Frame(next(self._images), time.time_ns(), time.monotonic_ns(), "bench")

    def close(self) -> None:
        """Nothing is held open."""


def parts(starts: int = STARTS) -> int:
    """How often `start_and_idle` calls its `step`."""
    return starts + len(IDLE_TRIGGERS)


def start_and_idle(
    model: ModelFile,
    images: list[Pixels],
    starts: int = STARTS,
    idle_seconds: float = 10.0,
    step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Start `leukoscope run` on the simulator a few times, then watch idle triggers at 30 frames a second.

    One start before does not count: Python may have to compile the modules first, which a box does once, at the
    installation.

    Args:
        step: is called after each of the `parts(starts)`: for a progress bar.

    Returns:
        "first_result_s": percentiles from the start of the process to its first record on the disk;
        "peak_rss_mb" of it and "cpu_s" that it took until then; "idle_cpu": share of a core by trigger, of
        capture and trigger alone (the camera itself takes no time here); "conditions" before and after.

    Raises:
        LeukoscopeError: the daemon gave no result.
    """
    runs = []
    before = conditions()
    _one_start(model, after_s=0.0)
    for _ in range(starts):
        runs.append(_one_start(model))
        step()
    idle = {}
    for trigger in IDLE_TRIGGERS:
        idle[trigger] = _idle(trigger, images, model.manifest.geometry.crop, idle_seconds)
        step()
    return {
        "model": model.manifest.name,
        "first_result_s": percentiles([run["first_result_s"] for run in runs]),
        "cpu_s": percentiles([run["cpu_s"] for run in runs]),
        "peak_rss_mb": max(run["peak_rss_mb"] for run in runs),
        "idle_cpu": idle,
        "conditions": {"before": before, "after": conditions()},
    }


def _one_start(model: ModelFile, after_s: float = AFTER_S) -> dict[str, float]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="leukoscope-bench-") as folder:
        outbox, config = Path(folder) / "outbox.db", Path(folder) / "leukoscope.toml"
        config.write_text(
            f"[model]\nfile = {json.dumps(str(model.path.resolve()))}\n"
            # No broker is there: the first result must not wait for one.
            f"[mqtt]\nport = 1\n[outbox]\nfile = {json.dumps(str(outbox))}\n"
        )
        started = time.monotonic()
        process = subprocess.Popen(
            children.module_command("edge", "run", "--config", str(config)),
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        try:
            while not _has_record(outbox):
                if process.poll() is not None or time.monotonic() - started > TIMEOUT_S:
                    raise LeukoscopeError(
                        "the daemon gave no result; start leukoscope run yourself to see why"
                    )
                time.sleep(POLL_S)
            first_result_s, cpu_s = time.monotonic() - started, _cpu_s(process.pid)
            time.sleep(after_s)
            peak_rss_mb = _peak_rss_mb(process.pid)
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)
    return {"first_result_s": first_result_s, "cpu_s": cpu_s, "peak_rss_mb": round(peak_rss_mb, 1)}


def _has_record(outbox: Path) -> bool:
    if not outbox.exists():
        return False
    try:
        connection = sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT 1 FROM records LIMIT 1").fetchone() is not None
        finally:
            connection.close()
    except sqlite3.Error:  # not made yet
        return False


def _cpu_s(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_rss_mb(process_id: int) -> float:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _idle(trigger: str, images: list[Pixels], region_px: int, seconds: float) -> float:
    """CPU time over elapsed time of the daemon's loop while nothing moves and there is no request."""
    settings = CameraSettings(trigger=trigger)  # type: ignore[arg-type]
    # Nearly the same field every time, as from a real camera: never exactly the same picture.
    still = [images[0], images[0] ^ np.uint8(1)]
    capture, gate = Capture(lambda: PacedCamera(still), TIMEOUT_S), Gate(settings, region_px)
    capture.start()
    try:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:  # until it is open, and has come to rest
            _look(capture, gate)
        started, cpu_started = time.monotonic(), time.process_time()
        while time.monotonic() - started < seconds:
            _look(capture, gate)
        return round((time.process_time() - cpu_started) / (time.monotonic() - started), 5)
    finally:
        capture.close()


def _look(capture: Capture, gate: Gate) -> None:
    """One turn of the daemon's loop."""
    if gate.wait(0.5) and (frame := capture.take(0.5, gate.after_ns)):
        gate.admit(frame)


def format_table(results: dict[str, Any]) -> str:
    """For people."""
    first, cpu = results["first_result_s"], results["cpu_s"]
    idle = ", ".join(f"{share:.2%} ({trigger})" for trigger, share in results["idle_cpu"].items())
    lines = (
        f"{results['model']}: first result on the disk {first['min']:.2f} s after the start of the process, "
        f"p50 {first['p50']:.2f}, max {first['max']:.2f}; {cpu['p50']:.2f} s of CPU time until then\n"
        f"peak memory {results['peak_rss_mb']:.0f} MB; idle by trigger at {FRAMES_PER_S:g} frames/s: {idle} of a core"
    )
    return "\n".join([lines, *busy(results)])
