"""Cameras on a Raspberry Pi's CSI connector, through picamera2 from the system's packages."""

import importlib
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.cameras.base import DeviceCamera
from edge.cameras.pixels import as_rgb
from edge.cameras.settings import CameraSettings
from edge.errors import InputError, LeukoscopeError
from edge.imaging.decode import decode
from edge.imaging.frame import Frame, Pixels
from edge.imaging.preprocess import centre

DEFAULT_SIZE_PX = (1280, 960)
"""Of the RGB stream, scaled by the Pi's image processor from a binned mode of the HQ camera's 4:3 sensor."""

# Formats are named from the highest byte: BGR888 is RGB in memory.
RGB_FORMATS = {"BGR888": False, "RGB888": True, "XBGR8888": False, "XRGB8888": True}
"""Name → is blue first in memory?"""
YUV_CODES = {
    "YUV420": cv2.COLOR_YUV2RGB_I420,
    "YVU420": cv2.COLOR_YUV2RGB_YV12,
    "YUYV": cv2.COLOR_YUV2RGB_YUYV,
    "UYVY": cv2.COLOR_YUV2RGB_UYVY,
}

DMA_HEAPS = Path("/dev/dma_heap")
"""Where picamera2 allocates memory for pictures; a Raspberry Pi's kernel has it, Debian's kernel does not."""

CONTROLS_SETTLE_S = 2.0
"""How long the camera may find its own exposure and white balance before they are held."""


class Picamera2Camera(DeviceCamera):
    """One camera of libcamera. Its reads may block for ever: run it in `edge.cameras.backends.child`.

    Args:
        settings: source is "picamera2:N", N counting from 0.
        region_px: side of the centred square that is given; 0 for the whole frame.

    Raises:
        InputError: N is no number.
        LeukoscopeError: picamera2 is not installed.
    """

    live = True

    def __init__(self, settings: CameraSettings, region_px: int = 0):
        number = settings.source.removeprefix("picamera2:")
        if not number.isdigit():
            raise InputError(f"camera.source is {settings.source!r}; give picamera2:0 for the first camera")
        self._number = int(number)
        self._settings = settings
        self._region_px = region_px
        self._library = _library(settings.source)
        self._camera: Any = None
        self._request: Any = None
        self._stream: dict[str, Any] = {}
        self.description = ""

    def open(self) -> None:
        """Start the camera and hold exposure, gain and white balance.

        Raises:
            LeukoscopeError: there is no such camera, or it does not start.
        """
        found = self._library.Picamera2.global_camera_info()
        if self._number >= len(found):
            raise LeukoscopeError(
                f"camera {self._settings.source}: libcamera finds {len(found)} cameras; check the cable and "
                "rpicam-hello --list-cameras"
            )
        try:
            self._start(self._made())
        except (RuntimeError, OSError, ValueError) as error:
            self.close()
            raise LeukoscopeError(
                f"camera {self._settings.source}: {error}; is another program using it?"
            ) from error

    def _made(self) -> Any:
        """picamera2's camera; without DMA heaps, libcamera itself allocates the memory."""
        library = self._library
        if DMA_HEAPS.exists():
            return library.Picamera2(self._number)
        camera = library.Picamera2(self._number, allocator=library.allocators.Allocator())
        camera.allocator = library.allocators.LibcameraAllocator(camera.camera)
        return camera

    def _start(self, camera: Any) -> None:
        self._camera = camera
        wanted = self._settings
        size = (wanted.width or DEFAULT_SIZE_PX[0], wanted.height or DEFAULT_SIZE_PX[1])
        frame_us = round(1e6 / wanted.fps) if wanted.fps else 0
        configuration = camera.create_video_configuration(
            main={"size": size, "format": "BGR888"},  # a camera without RGB uses its own format
            controls=self._offered({"FrameDurationLimits": (frame_us, frame_us)} if wanted.fps else {}),
            queue=False,  # a request is answered with a frame that comes after it
        )
        camera.configure(configuration)
        camera.start()
        held = self._held()
        camera.set_controls(held)
        self._stream = camera.camera_configuration()["main"]
        width, height = self._stream["size"]
        controls = ", ".join(f"{name} {value}" for name, value in held.items())
        model = camera.camera_properties.get("Model", "camera")
        self.description = (
            f"{model}, {width} x {height} px, {self._stream['format']}, {controls or 'no controls'}"
        )

    def _offered(self, controls: dict[str, Any]) -> dict[str, Any]:
        """The controls that this camera has, of those given; a webcam or a virtual camera has few."""
        return {name: value for name, value in controls.items() if name in self._camera.camera_controls}

    def _held(self) -> dict[str, Any]:
        """Exposure, gain and white balance from the settings, or else as the camera has found them."""
        wanted = self._settings
        fixed = wanted.exposure_us and wanted.gain and wanted.red_gain and wanted.blue_gain
        if not fixed and self._offered({"ExposureTime": 0, "ColourGains": 0}):
            time.sleep(CONTROLS_SETTLE_S)
        found = self._camera.capture_metadata()
        red, blue = found.get("ColourGains", (0.0, 0.0))
        gains = (wanted.red_gain or red, wanted.blue_gain or blue)
        held = {
            "AeEnable": False,
            "ExposureTime": round(wanted.exposure_us or found.get("ExposureTime", 0)),
            "AnalogueGain": wanted.gain or found.get("AnalogueGain", 0.0),
            "AwbEnable": False,
            "ColourGains": gains if all(gains) else None,
        }
        return self._offered({name: value for name, value in held.items() if value or value is False})

    def grab(self) -> None:
        """Wait for the next frame; libcamera itself drops those that nobody asks for.

        Raises:
            LeukoscopeError: the camera failed.
        """
        if self._camera is None:
            raise LeukoscopeError("the camera is closed; open it before reading")
        self._release()
        try:
            self._request = self._camera.capture_request()
        except (RuntimeError, OSError) as error:
            raise LeukoscopeError(f"camera {self._settings.source}: {error}") from error

    def retrieve(self) -> Frame:
        """The frame that was grabbed, with the sensor's time."""
        picture = pixels_of(self._request, self._stream)
        age_ns = _age_ns(self._request.get_metadata().get("SensorTimestamp", 0))
        self._release()
        return Frame(
            np.ascontiguousarray(centre(picture, self._region_px)),
            time.time_ns() - age_ns,
            time.monotonic_ns() - age_ns,
            self._settings.source,
            self._settings.specimen,
        )

    def _release(self) -> None:
        """Return the frame's buffer to libcamera, which has only a few."""
        request, self._request = self._request, None
        if request is not None:
            request.release()

    def close(self) -> None:
        """Stop and release the camera."""
        self._release()
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()


def pixels_of(request: Any, stream: dict[str, Any]) -> Pixels:
    """The picture of a request: RGB as requested, or converted to RGB from what a camera without RGB gives, such as a
    webcam.

    Args:
        request: of picamera2.
        stream: its configuration: format, size, and stride in bytes.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        LeukoscopeError: this version cannot read that format.
    """
    name, (width, height) = stream["format"], stream["size"]
    if name in ("NV12", "NV21"):  # picamera2 offers no array of it
        plane = request.make_buffer("main")[: stream["stride"] * height * 3 // 2].reshape(
            -1, stream["stride"]
        )
        code = cv2.COLOR_YUV2RGB_NV12 if name == "NV12" else cv2.COLOR_YUV2RGB_NV21
        pixels: Pixels = cv2.cvtColor(plane, code)
        return pixels[:, :width]
    if name == "MJPEG":  # picamera2 would decode a damaged picture up to the damage
        return decode(bytes(request.make_buffer("main")))
    if name in YUV_CODES:
        pixels = cv2.cvtColor(request.make_array("main"), YUV_CODES[name])
        return pixels[:height, :width]
    if name in RGB_FORMATS:
        return as_rgb(request.make_array("main"), blue_first=RGB_FORMATS[name])
    raise LeukoscopeError(f"the camera gives {name}; this version reads RGB888, NV12, YUV420, YUYV and MJPEG")


def _age_ns(stamp_ns: int) -> int:
    """How long ago the sensor took the frame, by its stamp of the boot clock; 0 if it gives none."""
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - stamp_ns
    return age_ns if 0 <= age_ns < 10_000_000_000 else 0


def _library(source: str) -> Any:
    try:
        return importlib.import_module("picamera2")
    except ImportError as error:
        raise LeukoscopeError(
            f"camera {source}: picamera2 cannot be imported ({error}); apt install python3-picamera2, and make the "
            "virtual environment with --system-site-packages"
        ) from error
