"""Cameras that OpenCV reads: USB cameras through V4L2, and RTSP streams through its FFmpeg."""

import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge.cameras.backends.usb_jpeg import JPEG_FORMATS, checked, pictures_are_sound
from edge.cameras.base import DeviceCamera
from edge.cameras.pixels import as_rgb
from edge.cameras.settings import CameraSettings, address
from edge.errors import ImageError, LeukoscopeError
from edge.host.secrets import shown_address
from edge.imaging.frame import Frame, Pixels
from edge.imaging.preprocess import centre

RAW_LIMIT_BYTES_PER_S = 30_000_000
"""USB 2 carries about 35 MB/s of video: where raw YUYV would need more than this, MJPG is asked for."""

CONTROLS_SETTLE_S = 2.0
"""How long a camera may find its own exposure and white balance before they are held."""

LATE_S = 0.2
"""A frame of a stream that arrives this much later than the quickest ones has waited in a buffer."""

MAX_SKIPPED = 300
"""Late frames that are skipped in one go, ten seconds at 30 frames/s, before a late one is accepted."""

PORTS = {"rtsp": 554, "rtsps": 322}
CONNECT_TIMEOUT_S = 3.0


class OpenCvCamera(DeviceCamera):
    """A V4L2 device or an RTSP stream. Its reads may block for ever: run it in `edge.cameras.backends.child`.

    Args:
        settings: source, size, rate and controls.
        region_px: side of the centred square that is converted and given; 0 for the whole frame.
    """

    live = True

    def __init__(self, settings: CameraSettings, region_px: int = 0):
        self._settings = settings
        self._region_px = region_px
        self._source = address(settings.source)
        self._name = shown_address(self._source)
        self._device = self._source.startswith("/dev/")
        self._capture = cv2.VideoCapture()
        self._clock = StreamClock()
        self._buffer: Any = None
        self._jpeg = self._checked = (
            False  # whether it sends JPEG pictures, and whether they are checked for damage
        )
        self._grabbed_ns = 0
        self.description = ""

    def open(self) -> None:
        """Open the source, agree on size and format, and fix the controls; frames after it are fresh.

        Raises:
            LeukoscopeError: it cannot be opened; the message says why.
        """
        self._clock = StreamClock()
        if self._device:
            self._open_device()
        else:
            self._capture.open(self._source, cv2.CAP_FFMPEG)
            if not self._capture.isOpened():
                raise LeukoscopeError(f"camera {self._name}: {_why_no_stream(self._source)}")
        self.description = self._describe()

    def _open_device(self) -> None:
        problem = _why_no_device(self._source)
        if problem:
            raise LeukoscopeError(f"camera {self._source}: {problem}")
        wanted = self._settings
        parameters = [cv2.CAP_PROP_BUFFERSIZE, 1]
        if wanted.width * wanted.height * 2 * max(wanted.fps, 1.0) > RAW_LIMIT_BYTES_PER_S:
            parameters += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")]
        for name, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, wanted.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, wanted.height),
            (cv2.CAP_PROP_FPS, round(wanted.fps)),
        ):
            if value:
                parameters += [name, value]
        self._capture.open(self._source, cv2.CAP_V4L2, parameters)
        if not self._capture.isOpened():
            # If a driver lacks one of these properties, OpenCV refuses all of them together.
            self._capture.open(self._source, cv2.CAP_V4L2)
            for name, value in zip(parameters[::2], parameters[1::2], strict=True):
                self._capture.set(name, value)
        if not self._capture.isOpened():
            raise LeukoscopeError(
                f"camera {self._source}: not a camera that gives pictures, or another program uses it; "
                "see v4l2-ctl --list-devices"
            )
        self._hold_controls()
        self._jpeg = self._pixel_format() in JPEG_FORMATS
        self._checked = self._jpeg and pictures_are_sound(self._capture)

    def _hold_controls(self) -> None:
        """Set exposure, gain and white balance, or let the camera find them and then fix them."""
        capture, wanted = self._capture, self._settings
        if not (wanted.exposure_us and wanted.white_balance_k):
            end = time.monotonic() + CONTROLS_SETTLE_S
            while time.monotonic() < end and capture.grab():
                pass
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)  # V4L2_EXPOSURE_MANUAL
        if wanted.exposure_us:
            capture.set(cv2.CAP_PROP_EXPOSURE, max(1, round(wanted.exposure_us / 100)))  # V4L2's unit
        if wanted.gain:
            capture.set(cv2.CAP_PROP_GAIN, wanted.gain)
        capture.set(cv2.CAP_PROP_AUTO_WB, 0)
        if wanted.white_balance_k:
            capture.set(cv2.CAP_PROP_WB_TEMPERATURE, wanted.white_balance_k)

    def _pixel_format(self) -> str:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        return code.to_bytes(4, "little", signed=code < 0).decode("ascii", "replace").strip("\0 ")

    def _describe(self) -> str:
        capture, pixel_format = self._capture, self._pixel_format()
        text = (
            f"{capture.get(cv2.CAP_PROP_FRAME_WIDTH):.0f} x {capture.get(cv2.CAP_PROP_FRAME_HEIGHT):.0f} px, "
            f"{pixel_format or 'unknown format'}, {capture.get(cv2.CAP_PROP_FPS):.3g} frames/s"
        )
        if self._device:
            text += f", exposure {capture.get(cv2.CAP_PROP_EXPOSURE) * 100:.0f} µs held"
        if self._jpeg and not self._checked:
            text += ", damaged pictures are not found"
        return text

    def grab(self) -> None:
        """Take the next frame that has not waited in a buffer; V4L2 does not decode it yet.

        Raises:
            LeukoscopeError: the source ended or failed.
        """
        for _ in range(MAX_SKIPPED):
            if not self._capture.grab():
                raise LeukoscopeError(
                    f"camera {self._name}: gives no more pictures; check its cable or network"
                )
            self._grabbed_ns = self._captured_ns()
            if time.monotonic_ns() - self._grabbed_ns < LATE_S * 1e9:
                break

    def retrieve(self) -> Frame:
        """The frame that was grabbed.

        Raises:
            ImageError: it is damaged, or cannot be decoded.
        """
        given, picture = self._capture.retrieve(self._buffer)
        if not given:
            raise ImageError(f"camera {self._name}: a picture could not be decoded")
        self._buffer = picture  # used again, since new memory for each frame costs more than its conversion
        if self._checked:
            pixels = centre(self._checked_picture(picture), self._region_px)
        else:
            pixels = as_rgb(centre(picture, self._region_px), blue_first=True)
        wall_ns = time.time_ns() - (time.monotonic_ns() - self._grabbed_ns)
        return Frame(pixels, wall_ns, self._grabbed_ns, self._name, self._settings.specimen)

    def _checked_picture(self, raw: Any) -> Pixels:
        try:
            return checked(raw)
        except ImageError as error:
            raise ImageError(f"camera {self._name}: {error}") from error

    def _captured_ns(self) -> int:
        """When the frame just grabbed was taken, on the monotonic clock."""
        now_ns = time.monotonic_ns()
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if self._device:  # the driver's stamp is of the monotonic clock, but not every driver gives one
            return stamp_ns if 0 <= now_ns - stamp_ns < 10_000_000_000 else now_ns
        return now_ns - self._clock.late_ns(now_ns, stamp_ns)  # RTP carries the camera's own time

    def close(self) -> None:
        """Give the source back."""
        self._capture.release()


class StreamClock:
    """How late each frame of a stream comes, from its own time stamps.

    The quickest frame counts as not late; the delay of a slower one is time that it waited in a buffer. The constant
    delay of network and encoder is not measured.
    """

    # A camera's clock drifts from ours by up to about 100 ppm: the reference drifts as fast, so that this is not
    # taken for delay.
    DRIFT = 200e-6

    def __init__(self) -> None:
        self._quickest_ns: float | None = None
        self._last_ns = 0

    def late_ns(self, now_ns: int, stamp_ns: int) -> int:
        """How late a frame is that carries `stamp_ns` and came at `now_ns`."""
        if self._quickest_ns is not None:
            self._quickest_ns += (now_ns - self._last_ns) * self.DRIFT
        self._last_ns = now_ns
        offset_ns = now_ns - stamp_ns
        # A stamp that jumps by a minute comes from a clock that was reset: begin again.
        if self._quickest_ns is None or not 0 <= offset_ns - self._quickest_ns < 60e9:
            self._quickest_ns = offset_ns
        return round(offset_ns - self._quickest_ns)


def _why_no_device(device: str) -> str:
    path = Path(device)
    if not path.exists():
        return "no such device; plug the camera in, and see v4l2-ctl --list-devices"
    if not os.access(path, os.R_OK | os.W_OK):
        return "this user may not open it; add the user to the group video"
    return ""


def _why_no_stream(source: str) -> str:
    parts = urlsplit(source)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return (
            f"{host}:{port} cannot be reached ({error}); check that the camera is on and the address is right"
        )
    return f"{host}:{port} answers, but gives no video there; check path, user name and password"


class VideoFile:
    """A video file as a camera that is not live: each of its frames once, or in a loop.

    Args:
        file: whatever FFmpeg reads.
        loop: begin again after the last frame.
        specimen: of every frame; "" for the name of the file's folder.
    """

    live = False

    def __init__(self, file: Path, loop: bool, specimen: str):
        self._file, self._loop = file, loop
        self._specimen = specimen or file.resolve().parent.name
        self._capture = cv2.VideoCapture()
        self._number = 0
        self.description = ""

    def open(self) -> None:
        """Open the file.

        Raises:
            ImageError: it is no video that FFmpeg reads.
        """
        self._number = 0
        if not self._capture.open(str(self._file), cv2.CAP_FFMPEG):
            raise ImageError(f"{self._file}: not a readable video")
        width, height = (
            self._capture.get(name) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.description = f"{width:.0f} x {height:.0f} px, video file"

    def read(self) -> Frame | None:
        """The next frame, or None after the last."""
        ok, picture = self._capture.read()
        if not ok and self._loop and self._number:
            self.close()
            self.open()
            ok, picture = self._capture.read()
        if not ok:
            return None
        pixels = as_rgb(np.asarray(picture), blue_first=True)
        source = f"{self._file}, frame {self._number}"
        self._number += 1
        return Frame(pixels, time.time_ns(), time.monotonic_ns(), source, self._specimen)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()
