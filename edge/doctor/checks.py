"""The checks of `leukoscope doctor`: each returns what it found, with what to do."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.cameras.sources import make_camera
from edge.doctor.findings import Finding, failed, ok, unknown, warning
from edge.doctor.outbox import outbox
from edge.doctor.running import in_use, last_report
from edge.errors import LeukoscopeError
from edge.health.report import versions
from edge.host import clock as wall_clock
from edge.host import machine
from edge.host.secrets import shown_address
from edge.imaging.frame import Frame
from edge.model.classifier import Classifier
from edge.model.file import ModelFile, verify
from edge.model.installation import install as installation
from edge.mqtt.check import check_broker
from edge.settings import Settings

UNIT = "leukoscope.service"
CAMERA_TIMEOUT_S, BROKER_TIMEOUT_S, COMMAND_TIMEOUT_S = 20.0, 12.0, 10.0
PORT_TIMEOUT_S = 3.0
LOW_DISK_MB, LOW_MEMORY_MB = 500, 100
# A Pi slows down from 80 °C on.
WARM_C, HOT_C = 70.0, 80.0
# No frame at all, or a lens cap: all pixels are alike.
FLAT_LEVELS = 2.0
# No box was made before this; a Pi without a clock chip starts in 1970 or at its image's date.
EARLIEST_YEAR = 2025
JOURNAL = "journalctl -u leukoscope -n 50"


def software(_settings: Settings) -> Finding:
    """Versions, and that a network can be run at all."""
    found = versions()
    interpreter = found.get("ai_edge_litert") or found.get("tflite_runtime")
    if not interpreter:
        return failed(
            "software", "no interpreter is installed; run the installer again", "pip install ai-edge-litert"
        )
    board = f" on {found['board']}" if "board" in found else ""
    return ok(
        "software",
        f"{found['software']}, Python {found['python']}, LiteRT {interpreter}, {found.get('system', '?')}{board}",
    )


def model(settings: Settings) -> Finding:
    """The model file is whole and gives a result here, and in how many milliseconds."""
    file = installation.of_settings(settings.model)
    verify(file)
    classifier = Classifier(file, settings.model.threads)
    side = file.manifest.geometry.crop
    classifier.classify(np.zeros((side, side, 3), np.uint8))  # the first prepares what the next ones use
    timings_ms = classifier.classify(np.full((side, side, 3), 128, np.uint8)).timings_ms
    seen = f"{file.manifest.name}: valid, {sum(timings_ms.values()):.1f} ms per cell; {_checked_here(file)}"
    state = installation.store_of(settings.model).state()
    if state.fault:
        return warning("model", f"{seen}; the box went back to it by itself: {state.fault}")
    if state.trial is not None and state.current == file.sha256:
        return warning("model", f"{seen}; installed, and not yet proven by the daemon", JOURNAL)
    return ok("model", seen)


def _checked_here(file: ModelFile) -> str:
    adaptation = file.manifest.adaptation
    if adaptation is None:
        return "not adapted to this laboratory"
    counts = " and ".join(f"{number} {label}" for label, number in adaptation["reviewed"].items())
    before, after = (adaptation[side]["auc"] for side in ("before", "after"))
    return f"adapted to this laboratory with {counts}, AUC {before:.2f} → {after:.2f}"


def drift(settings: Settings) -> Finding:
    """Whether the running service sees cells like those that the model was made of."""
    report = last_report(settings) if in_use(settings) else None
    found = (report or {}).get("drift")
    if not found:
        return unknown("drift", "no service runs, too few cells yet, or the model tells nothing of its cells")
    seen = (
        f"distance {found['distance']:.2f} of the last {found['cells']} cells, limit {found['threshold']:.2f}"
    )
    if colour := found.get("colour"):
        seen += f"; of their colours {colour['distance']:.2f} ({colour['figure']}), limit {colour['threshold']:.2f}"
    return warning("drift", f"{seen}; {found['advice']}") if found["moved"] else ok("drift", seen)


def disk(settings: Settings) -> Finding:
    """Space beside the outbox."""
    folder = _existing(Path(settings.outbox.file).parent)
    space_mb = machine.disk_mb(folder)
    seen = f"{space_mb['free'] / 1000:.1f} of {space_mb['total'] / 1000:.1f} GB free at {folder}"
    if space_mb["free"] < LOW_DISK_MB:
        return warning(
            "disk",
            f"{seen}; free at least {LOW_DISK_MB} MB, or results can no longer be kept",
            f"sudo du -xh --max-depth=2 {folder}",
        )
    return ok("disk", seen)


def memory(_settings: Settings) -> Finding:
    """Memory that is left."""
    available_mb = machine.memory_mb()["available"]
    seen = f"{available_mb / 1000:.1f} GB available"
    if available_mb < LOW_MEMORY_MB:
        return warning("memory", f"{seen}; stop other programs", "ps aux --sort=-rss | head")
    return ok("memory", seen)


def camera(settings: Settings) -> Finding:
    """Two frames, their size and whether there is anything on them."""
    source = shown_address(settings.camera.source)
    if in_use(settings):
        return _camera_of_service(settings)
    frames = _two_frames(settings)
    height, width = frames[-1].pixels.shape[:2]
    seen = f"{source}: {width}x{height}"
    if source == "simulator":
        return warning("camera", f"{seen}, simulated cells; set [camera] source to the real camera")
    spread = float(frames[-1].pixels.std())
    if spread < FLAT_LEVELS:
        return warning(
            "camera",
            f"{seen}, but the picture is empty (spread {spread:.1f} levels); check lamp, lens cap and focus",
        )
    period_ms = (frames[-1].monotonic_ns - frames[0].monotonic_ns) / 1e6
    return ok(
        "camera",
        f"{seen}, brightness {frames[-1].pixels.mean():.0f} of 255, {period_ms:.0f} ms between frames",
    )


def _two_frames(settings: Settings) -> list[Frame]:
    """Read in a thread of its own: a camera may hang in its driver.

    Raises:
        LeukoscopeError: the camera fails, or gives no frame in time.
    """
    source = shown_address(settings.camera.source)
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


def _camera_of_service(settings: Settings) -> Finding:
    """The running service has the camera: what its own history reports."""
    report = last_report(settings)
    if report is None:
        return warning(
            "camera", "the running service uses it and has written no health yet; try again in a minute"
        )
    seen = (
        f"in use by the running service, which reports: {report['camera']}, {report['rate_per_s']} results/s"
    )
    if report["camera"] == "opening":  # what it wrote when it began, and writes once a minute
        return warning("camera", f"{seen}; try again in a minute")
    if report["camera"] != "ok":
        return failed("camera", f"{seen}; check the cable", JOURNAL)
    return ok("camera", seen)


def broker(settings: Settings) -> Finding:
    """The broker accepts this box, over TLS if that is set, and lets it publish."""
    where = f"{settings.mqtt.host}:{settings.mqtt.port}"
    try:  # quick: what nobody answers at all need not be waited for
        socket.create_connection((settings.mqtt.host, settings.mqtt.port), PORT_TIMEOUT_S).close()
    except ConnectionRefusedError:
        local = settings.mqtt.host in ("127.0.0.1", "localhost", "::1")
        return failed(
            "broker",
            f"{where}: nothing listens there; start the broker, or set [mqtt] host and port",
            "sudo systemctl start mosquitto" if local else f"ping -c 3 {settings.mqtt.host}",
        )
    except OSError:
        pass  # the check below finds the words for it
    began = time.monotonic()
    well, seen = check_broker(settings.mqtt, settings.device.id, BROKER_TIMEOUT_S)
    if not well:
        return failed("broker", f"{where}: {seen}")
    message = f"{where}: {seen}, {(time.monotonic() - began) * 1e3:.0f} ms"
    if "no logger" in seen:
        return warning("broker", message, f"leukoscope log --broker mqtt://{where}")
    return ok("broker", message)


def clock(_settings: Settings) -> Finding:
    """The clock is right enough to date results."""
    now = time.gmtime()
    seen = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < EARLIEST_YEAR:
        return failed(
            "clock",
            f"{seen}: wrong; connect to a network with NTP, or set it by hand",
            "sudo timedatectl set-time 'YYYY-MM-DD HH:MM:SS'",
        )
    synchronised = wall_clock.synchronised()
    if synchronised is False:
        return warning(
            "clock", f"{seen}, not synchronised; allow NTP (UDP port 123)", "sudo timedatectl set-ntp true"
        )
    return ok("clock", f"{seen}, {'synchronised' if synchronised else 'synchronisation not reported'}")


def temperature(_settings: Settings) -> Finding:
    """The hottest part of the board."""
    value_c = machine.temperature_c()
    if value_c is None:
        return unknown("temperature", "no sensor found")
    if value_c >= WARM_C:
        slow = "the board slows down" if value_c >= HOT_C else f"at {HOT_C:.0f} °C the board slows down"
        return warning("temperature", f"{value_c:.0f} °C: {slow}; add a heat sink, a fan or more air")
    return ok("temperature", f"{value_c:.0f} °C")


def power(_settings: Settings) -> Finding:
    """Under-voltage and throttling."""
    found = machine.throttling()
    if found is None:
        return unknown("power", "this board does not report it")
    if found["now"] or found["since_boot"]:
        now, before = ", ".join(found["now"]) or "nothing", ", ".join(found["since_boot"]) or "nothing"
        return warning(
            "power", f"now: {now}; since power-on: {before}; use the official power supply and a short cable"
        )
    return ok("power", "enough, never throttled since power-on")


def service(_settings: Settings) -> Finding:
    """What systemd reports of the service."""
    shown = output_of("systemctl", "show", "--property=LoadState,ActiveState,StatusText,NRestarts", UNIT)
    state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if state.get("LoadState") != "loaded":
        return unknown("service", "not installed as a service here")
    seen = f"{state['ActiveState']} ({state.get('StatusText') or 'no status'})"
    if state["ActiveState"] != "active":
        return warning(
            "service", f"{seen}; start it; {JOURNAL} shows why it ended", "sudo systemctl start leukoscope"
        )
    return ok("service", f"{seen}, restarted {state.get('NRestarts', '0')} times since it was started")


CHECKS: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
    ("software", software),
    ("model", model),
    ("outbox", outbox),
    ("disk", disk),
    ("memory", memory),
    ("camera", camera),
    ("broker", broker),
    ("clock", clock),
    ("temperature", temperature),
    ("power", power),
    ("service", service),
    ("drift", drift),
)
"""In the order in which they are tried and shown."""


def _existing(folder: Path) -> Path:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def output_of(*command: str) -> str:
    """What a program prints, or "" if it is missing, fails or takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
