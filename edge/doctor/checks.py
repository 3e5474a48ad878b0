"""The checks of `leukoscope doctor`: each gives what it saw, or raises with what to do."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.cameras.sources import make_camera
from edge.errors import LeukoscopeError
from edge.health.report import versions
from edge.health.reporter import HISTORY_FILE
from edge.host import clock as wall_clock
from edge.host import machine
from edge.imaging.frame import Frame
from edge.model.classifier import Classifier, default_model
from edge.model.file import read_model, verify
from edge.mqtt.check import check_broker
from edge.outbox.file import set_aside_in
from edge.settings import Settings

UNIT = "leukoscope.service"
CAMERA_TIMEOUT_S, BROKER_TIMEOUT_S, COMMAND_TIMEOUT_S = 20.0, 12.0, 10.0
LOW_DISK_MB, LOW_MEMORY_MB = 500, 100
# A Pi slows down from 80 °C on.
WARM_C, HOT_C = 70.0, 80.0
# No frame at all, or a lens cap: all pixels alike.
FLAT_LEVELS = 2.0
# No box was made before this; a Pi without a clock chip starts in 1970 or at its image's date.
EARLIEST_YEAR = 2025
# The service writes its history each minute.
FRESH_S = 150.0


class CautionError(LeukoscopeError):
    """It works, but not for long or not well."""


def software(_settings: Settings) -> str:
    """Versions, and that a network can be run at all."""
    found = versions()
    interpreter = found.get("ai_edge_litert") or found.get("tflite_runtime")
    if not interpreter:
        raise LeukoscopeError(
            "no interpreter is installed; run the installer again, or pip install ai-edge-litert"
        )
    board = f" on {found['board']}" if "board" in found else ""
    return f"{found['software']}, Python {found['python']}, LiteRT {interpreter}, {found.get('system', '?')}{board}"


def model(settings: Settings) -> str:
    """The model file is whole and gives a result here, and in how many milliseconds."""
    file = read_model(Path(settings.model.file) if settings.model.file else default_model())
    verify(file)
    classifier = Classifier(file, settings.model.threads)
    side = file.manifest.geometry.crop
    classifier.classify(np.zeros((side, side, 3), np.uint8))  # the first prepares what the next ones use
    timings_ms = classifier.classify(np.full((side, side, 3), 128, np.uint8)).timings_ms
    return f"{file.manifest.name}: fits, {sum(timings_ms.values()):.0f} ms a cell"


def outbox(settings: Settings) -> str:
    """Records can be kept: the folder may be written, or the running service keeps them."""
    file = Path(settings.outbox.file)
    if file.exists() and (aside := set_aside_in(file)):
        sequence, reason = aside[-1]
        raise CautionError(
            f"{file}: {len(aside)} records are set aside and not sent, the last of them {sequence}: {reason}; "
            "they lie in the table aside of that file"
        )
    if in_use(settings):
        return f"{file}: in use by the running service"
    folder = file.parent
    if not folder.is_dir():
        raise LeukoscopeError(f"{folder} is not there; create it, or set [outbox] file to another place")
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise LeukoscopeError(
            f"{folder}: {error.strerror}; free space, or run this as the user leukoscope"
        ) from error
    return f"{file}: can be written"


def disk(settings: Settings) -> str:
    """Space beside the outbox."""
    folder = _existing(Path(settings.outbox.file).parent)
    space_mb = machine.disk_mb(folder)
    said = f"{space_mb['free']} of {space_mb['total']} MB free at {folder}"
    if space_mb["free"] < LOW_DISK_MB:
        raise CautionError(f"{said}; free at least {LOW_DISK_MB} MB, or results can no longer be kept")
    return said


def memory(_settings: Settings) -> str:
    """Memory that is left."""
    available_mb = machine.memory_mb()["available"]
    said = f"{available_mb:.0f} MB available"
    if available_mb < LOW_MEMORY_MB:
        raise CautionError(f"{said}; stop other programs")
    return said


def camera(settings: Settings) -> str:
    """Two frames, their size and whether there is anything on them."""
    source = settings.camera.source
    if in_use(settings):
        return _camera_of_service(settings)
    frames = _two_frames(settings)
    height, width = frames[-1].pixels.shape[:2]
    seen = f"{source}: {width}x{height}"
    if source == "simulator":
        raise CautionError(f"{seen}, drawn cells; set [camera] source to the real camera")
    spread = float(frames[-1].pixels.std())
    if spread < FLAT_LEVELS:
        raise CautionError(
            f"{seen}, but the picture is empty (spread {spread:.1f} levels); lamp, lens cap, focus?"
        )
    period_ms = (frames[-1].monotonic_ns - frames[0].monotonic_ns) / 1e6
    return f"{seen}, brightness {frames[-1].pixels.mean():.0f} of 255, {period_ms:.0f} ms between frames"


def _two_frames(settings: Settings) -> list[Frame]:
    """Read in a thread of its own: a camera may hang in its driver."""
    source = settings.camera.source
    frames: list[Frame] = []
    faults: list[Exception] = []

    def read() -> None:
        try:
            opened = make_camera(settings.camera, settings.simulator)
            opened.open()
            try:
                while len(frames) < 2 and (frame := opened.read()) is not None:
                    frames.append(frame)
            finally:
                opened.close()
        except Exception as error:  # the thread's top: raised where it is waited for
            faults.append(error)

    reader = threading.Thread(target=read, name="doctor camera", daemon=True)
    reader.start()
    reader.join(CAMERA_TIMEOUT_S)
    if faults:
        raise LeukoscopeError(str(faults[0])) from faults[0]
    if not frames:
        raise LeukoscopeError(
            f"{source}: no frame within {CAMERA_TIMEOUT_S:.0f} s; check the cable and that no other program uses it"
        )
    return frames


def _camera_of_service(settings: Settings) -> str:
    """The running service has the camera: what its own history says of it."""
    report = last_report(settings)
    if report is None:
        raise CautionError("the running service uses it and has written no health yet; try again in a minute")
    said = f"in use by the running service, which says: {report['camera']}, {report['rate_per_s']} results/s"
    if report["camera"] == "opening":  # what it wrote when it began, and writes once a minute
        raise CautionError(f"{said}; try again in a minute")
    if report["camera"] != "ok":
        raise LeukoscopeError(f"{said}; check the cable, then: journalctl -u leukoscope")
    return said


def broker(settings: Settings) -> str:
    """The broker accepts us, over TLS where that is set, and lets us publish."""
    began = time.monotonic()
    well, said = check_broker(settings.mqtt, settings.device.id, BROKER_TIMEOUT_S)
    where = f"{settings.mqtt.host}:{settings.mqtt.port}"
    if not well:
        raise LeukoscopeError(f"{where}: {said}")
    return f"{where}: {said}, {(time.monotonic() - began) * 1e3:.0f} ms"


def clock(_settings: Settings) -> str:
    """The clock is right enough to date results."""
    now = time.gmtime()
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < EARLIEST_YEAR:
        raise LeukoscopeError(
            f"{said}: wrong; connect to a network with NTP, or: sudo timedatectl set-time …"
        )
    synchronised = wall_clock.synchronised()
    if synchronised is False:
        raise CautionError(
            f"{said}, not synchronised; allow NTP (UDP port 123): sudo timedatectl set-ntp true"
        )
    return f"{said}, {'synchronised' if synchronised else 'nothing here tells whether it is synchronised'}"


def temperature(_settings: Settings) -> str:
    """The hottest part of the board."""
    value_c = machine.temperature_c()
    if value_c is None:
        return "this machine shows none"
    if value_c >= WARM_C:
        slow = "it slows down" if value_c >= HOT_C else "soon it slows down"
        raise CautionError(f"{value_c:.0f} °C, {slow}; give it a heat sink, a fan or more air")
    return f"{value_c:.0f} °C"


def power(_settings: Settings) -> str:
    """Under-voltage and throttling."""
    found = machine.throttling()
    if found is None:
        return "this machine does not tell"
    if found["now"] or found["since_boot"]:
        now, before = ", ".join(found["now"]) or "nothing", ", ".join(found["since_boot"]) or "nothing"
        raise CautionError(
            f"now: {now}; since power-on: {before}; use the official power supply and a short cable"
        )
    return "enough, never throttled since power-on"


def service(_settings: Settings) -> str:
    """What systemd says of the service."""
    shown = output_of("systemctl", "show", "--property=LoadState,ActiveState,StatusText,NRestarts", UNIT)
    state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if state.get("LoadState") != "loaded":
        return "not installed as a service here"
    said = f"{state['ActiveState']} ({state.get('StatusText') or 'no status'})"
    if state["ActiveState"] != "active":
        raise CautionError(
            f"{said}; start it: sudo systemctl start leukoscope; why: journalctl -u leukoscope"
        )
    return f"{said}, restarted {state.get('NRestarts', '0')} times since it was started"


def in_use(settings: Settings) -> bool:
    """Whether a daemon with these settings runs: it holds the lock of the outbox."""
    try:
        with open(f"{Path(settings.outbox.file).resolve()}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def last_report(settings: Settings) -> dict[str, Any] | None:
    """The newest health message in the history, or None where there is none that is fresh."""
    file = Path(settings.outbox.file).resolve().parent / HISTORY_FILE
    try:
        if time.time() - file.stat().st_mtime > FRESH_S:
            return None
        report: dict[str, Any] = json.loads(file.read_bytes().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return report


def _existing(folder: Path) -> Path:
    while not folder.is_dir():
        folder = folder.parent
    return folder


def output_of(*command: str) -> str:
    """What a program prints, or "" where it is missing, fails or takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
