"""Any GStreamer pipeline as a camera, through `gst-launch-1.0`.

OpenCV's packages on PyPI are built without GStreamer, so the pipeline runs as the program that every
JetPack and Debian has, and hands raw RGB over a pipe.
"""

import fcntl
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections import deque

import numpy as np

from edge.cameras.base import DeviceCamera
from edge.cameras.settings import CameraSettings, address
from edge.errors import InputError, LeukoscopeError
from edge.host import threads
from edge.host.text import harmless
from edge.imaging.frame import Frame, Pixels
from edge.imaging.preprocess import centre

PROGRAM = "gst-launch-1.0"

JETSON_CSI = (
    "nvarguscamerasrc sensor-id={sensor} {controls}"
    "! video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1 "
    "! nvvidconv ! video/x-raw,format=BGRx"
)
"""NVIDIA's pipeline for a camera on the CSI connector of a Jetson; `gstreamer:jetson-csi:N` stands for it."""

# Only the newest frame waits, so that a slow reader sees a fresh one. The size is fixed here, and a
# pipeline that cannot give it is refused by GStreamer.
HAND_OVER = (
    "! videoconvert ! video/x-raw,format=RGB,width={width},height={height} "
    "! queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 ! fdsink fd=1 sync=false"
)

PIPE_BYTES = 1 << 20
"""The largest pipe that a user may ask for; it saves switches between the two programs."""

STOP_TIMEOUT_S = 2.0

LAUNCHER = "edge.cameras.backends.gst_launcher"

SECRET = re.compile(r"://[^\s]*[@?]|user|passw|-pw\b|secret|token|key", re.IGNORECASE)
"""Pattern of a secret written in the settings themselves."""

LAST_LINES, LONGEST_LINE = 20, 500
"""Lines of GStreamer's output that are kept, to give the reason of a failure."""


class GStreamerCamera(DeviceCamera):
    """Frames of a pipeline. Its reads may block for ever: run it in `edge.cameras.backends.child`.

    Args:
        settings: source is "gstreamer:PIPELINE" or "gstreamer:jetson-csi:N"; width and height are needed.
        region_px: side of the centred square that is given; 0 for the whole frame.

    Raises:
        InputError: width or height is missing.
    """

    live = True

    def __init__(self, settings: CameraSettings, region_px: int = 0):
        if not (settings.width and settings.height):
            raise InputError("camera.width and camera.height must be given where the source is gstreamer:…")
        self._settings = settings
        self._region_px = region_px
        self._pipeline = pipeline(settings)
        self._process: subprocess.Popen[bytes] | None = None
        # GStreamer rounds each row of RGB up to four bytes.
        self._row_bytes = (settings.width * 3 + 3) // 4 * 4
        self._buffer = bytearray(self._row_bytes * settings.height)
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._listener: threading.Thread | None = None
        self._grabbed_ns = 0
        self.description = f"{settings.width} x {settings.height} px, RGB from {PROGRAM}"

    def open(self) -> None:
        """Start the pipeline and wait for its first frame.

        Raises:
            LeukoscopeError: GStreamer is not installed, or it refuses the pipeline; its reason is given.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise LeukoscopeError(f"{PROGRAM} is not installed: apt install gstreamer1.0-tools")
        hand_over = HAND_OVER.format(width=self._settings.width, height=self._settings.height)
        text = f"{self._pipeline} {hand_over}"
        # Every user can read command lines: a pipeline that may hold a secret goes through standard input.
        private = bool("${" in self._settings.source or SECRET.search(self._pipeline))
        try:
            command = [sys.executable, "-m", LAUNCHER] if private else [program, "-q", *shlex.split(text)]
        except ValueError as error:
            raise InputError(f"camera.source: the pipeline cannot be read: {error}") from error
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if private else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        if self._process.stdin is not None:
            self._process.stdin.write(text.encode())
            self._process.stdin.close()
        self._last_lines.clear()
        self._listener = threads.start("gstreamer-errors", self._listen)
        assert self._process.stdout is not None
        fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.grab()

    def grab(self) -> None:
        """Take the next frame.

        Raises:
            LeukoscopeError: the pipeline ended; GStreamer's reason is given.
        """
        process = self._process
        if process is None or process.stdout is None:
            raise LeukoscopeError("the camera is closed; open it before reading")
        rest = memoryview(self._buffer)
        while rest:
            count = process.stdout.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise LeukoscopeError(f"camera gstreamer: {self._why()}")
            rest = rest[count:]
        self._grabbed_ns = time.monotonic_ns()

    def _why(self) -> str:
        process = self._process
        assert process is not None
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "the pipeline gives no more pictures"
        if self._listener is not None:
            self._listener.join(STOP_TIMEOUT_S)
        lines = list(self._last_lines)
        errors = [line for line in lines if "ERROR" in line or "WARNING" in line] or lines
        return f"the pipeline ended: {' '.join(errors[:2]) or 'no reason given'}"

    def _listen(self) -> None:
        """Read all messages of GStreamer, or it would stop when the pipe is full."""
        process = self._process
        assert process is not None and process.stderr is not None
        with process.stderr as stream:
            rest = b""
            while data := stream.read(65536):
                *lines, rest = (rest + data).split(b"\n")
                self._last_lines.extend(
                    harmless(line.decode("utf-8", "replace"), LONGEST_LINE) for line in lines
                )
                rest = rest[-LONGEST_LINE:]
            if rest:
                self._last_lines.append(harmless(rest.decode("utf-8", "replace"), LONGEST_LINE))

    def retrieve(self) -> Frame:
        """The frame that was grabbed."""
        age_ns = time.monotonic_ns() - self._grabbed_ns
        width, height = self._settings.width, self._settings.height
        rows = np.frombuffer(self._buffer, np.uint8).reshape(height, self._row_bytes)
        whole: Pixels = rows[:, : width * 3].reshape(height, width, 3)
        part = centre(whole, self._region_px)
        return Frame(
            part.copy(), time.time_ns() - age_ns, self._grabbed_ns, "gstreamer", self._settings.specimen
        )

    def close(self) -> None:
        """End the pipeline."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it blocks within a driver; the kernel ends it when it can
            return
        if process.stdout is not None:
            process.stdout.close()


def pipeline(settings: CameraSettings) -> str:
    """The pipeline that the source names, as text for `gst-launch-1.0`, without the elements that hand the frames
    over."""
    text = address(settings.source).removeprefix("gstreamer:")
    if not text.startswith("jetson-csi"):
        return text
    controls = "wbmode=0 " if settings.red_gain or settings.blue_gain else ""
    if settings.exposure_us:
        exposure_ns = round(settings.exposure_us * 1000)
        controls += f'aelock=true exposuretimerange="{exposure_ns} {exposure_ns}" '
    if settings.gain:
        controls += f'gainrange="{settings.gain:g} {settings.gain:g}" '
    return JETSON_CSI.format(
        sensor=text.partition(":")[2] or "0",
        controls=controls,
        width=settings.width,
        height=settings.height,
        fps=max(1, round(settings.fps)),
    )
