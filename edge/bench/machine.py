"""The conditions of a measurement: board, clock governor, temperature, throttling, load, versions."""

import os
import platform
import resource
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge.host.machine import board, temperature_c, throttling

_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")
SPARE_LOAD = 0.5
"""Load beside what is timed that every machine has: its own services."""
_MEASURED = ("ai-edge-litert", "tflite-runtime", "numpy", "opencv-python-headless", "msgspec")


def machine() -> str:
    """The board or processor, its architecture and the Python version."""
    name = board() or _processor() or platform.node()
    return f"{name} ({platform.machine()}, Python {platform.python_version()})"


def _processor() -> str:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""


def conditions() -> dict[str, Any]:
    """What influences a measurement, at this moment; None for what the machine does not report.

    Returns:
        temperature_c, governor, clock_mhz, throttling, and load_1min: processes that ran or waited for a
        core in the last minute, this one included.
    """
    clock_khz = _read(_CPU / "scaling_cur_freq")
    return {
        "temperature_c": temperature_c(),
        "governor": _read(_CPU / "scaling_governor"),
        "clock_mhz": int(clock_khz) // 1000 if clock_khz else None,
        "throttling": throttling(),
        "load_1min": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
    }


def busy(*results: Mapping[str, Any]) -> list[str]:
    """A line for people if other programs took the cores while something was timed; else none.

    Args:
        results: each with "conditions" {"before", "after"} as `conditions` gives them, and "threads" of the
            interpreter, 1 without. The first of them that was disturbed is told.
    """
    for each in results:
        before, after = each["conditions"]["before"], each["conditions"]["after"]
        cores, threads = after["cores"] or 1, each.get("threads", 1)
        # The load afterwards holds what was timed.
        others = max(before["load_1min"], after["load_1min"] - threads)
        if others + threads > cores + SPARE_LOAD:
            return [
                f"BUSY MACHINE: load {others:.1f} of other programs on {cores} core{'s' * (cores > 1)}, so medians (p50) "
                "are too high. Compare the fastest (min), or stop the others and measure again."
            ]
    return []


def versions() -> dict[str, str]:
    """Versions of the packages that do the work, if installed."""
    found = {}
    for name in _MEASURED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_rss_mb() -> float:
    """Peak memory of this process, in MiB."""
    # Linux counts in KiB, macOS in bytes.
    divisor = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / divisor


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
