"""What the machine reports of itself: temperature, throttling, memory, disk, model of the board."""

import os
import shutil
from pathlib import Path

from edge import __version__

# Bits of the Raspberry Pi's get_throttled, now; the same 16 bits higher: it happened since power-on.
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
PI_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
VCGENCMD_TIMEOUT_S = 2.0


def temperature_c(root: Path = Path("/")) -> float | None:
    """The hottest thermal zone in °C, or None if the machine has no sensor."""
    readings = []
    for zone in root.glob("sys/class/thermal/thermal_zone*/temp"):
        try:
            readings.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):  # a zone may be switched off
            continue
    return max(readings, default=None)


def throttling(root: Path = Path("/")) -> dict[str, list[str]] | None:
    """What throttles the machine, {"now": […], "since_boot": […]}, or None if the machine does not report it.

    Raspberry Pi: the firmware's get_throttled (sysfs, then vcgencmd), and the kernel's under-voltage alarm.
    Jetson: the over-current counters of its power monitors.
    """
    bits = _pi_bits(root)
    if bits is not None:
        return {
            "now": [name for bit, name in PI_BITS.items() if bits >> bit & 1],
            "since_boot": [name for bit, name in PI_BITS.items() if bits >> bit + 16 & 1],
        }
    alarm = _under_voltage_alarm(root)
    overcurrent = _jetson_overcurrent(root)
    if alarm is None and overcurrent is None:
        return None
    return {"now": ["under-voltage"] if alarm else [], "since_boot": ["over-current"] if overcurrent else []}


def _pi_bits(root: Path) -> int | None:
    for file in root.glob("sys/devices/platform/*/*firmware/get_throttled"):
        try:
            return int(file.read_text(), 16)
        except (OSError, ValueError):
            continue
    program = shutil.which("vcgencmd")
    if root != Path("/") or program is None:
        return None
    import subprocess  # late: a box without that program starts sooner

    try:
        done = subprocess.run(
            [program, "get_throttled"], capture_output=True, text=True, timeout=VCGENCMD_TIMEOUT_S
        )
        return int(done.stdout.partition("=")[2], 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # not a Pi, or no access to /dev/vcio
        return None


def _under_voltage_alarm(root: Path) -> bool | None:
    for file in root.glob("sys/class/hwmon/hwmon*/in0_lcrit_alarm"):
        try:
            if (file.parent / "name").read_text().strip() == "rpi_volt":
                return file.read_text().strip() == "1"
        except OSError:
            continue
    return None


def _jetson_overcurrent(root: Path) -> int | None:
    counts = []
    for file in root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt"):
        try:
            counts.append(int(file.read_text()))
        except (OSError, ValueError):
            continue
    return sum(counts) if counts else None


def memory_mb() -> dict[str, float]:
    """Memory of this process now ("process") and available memory of the machine ("available"), in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    available_kib = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available_kib = int(line.split()[1])
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return {"process": round(pages * page_bytes / 2**20, 1), "available": round(available_kib / 1024, 1)}


def disk_mb(folder: Path) -> dict[str, int]:
    """Space of the file system that holds `folder`, in MiB: "free" (for this user) and "total"."""
    usage = shutil.disk_usage(folder)
    return {"free": usage.free // 2**20, "total": usage.total // 2**20}


def board(root: Path = Path("/")) -> str:
    """The model of the board, such as "Raspberry Pi 5 Model B Rev 1.0", or ""."""
    try:
        return (root / "proc/device-tree/model").read_text().strip("\0\n ")
    except OSError:
        return ""


def operating_system() -> str:
    """The name of the operating system, such as "Debian GNU/Linux 13 (trixie)", or ""."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("PRETTY_NAME", "").strip('"')


def boot_id() -> str:
    """The id of this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def software_version() -> str:
    """This version, as records and health name it."""
    return f"leukoscope {__version__}"
