"""picamera2's documented API, as far as the back-end uses it, for machines that have no such camera.

Put under the name `picamera2` on a child's path; what its back-end asked for is checked as the real one
does: an unknown control is an error, a request has to be released, and a closed camera refuses.
"""

import os
import threading
import time
from typing import Any, ClassVar

import cv2
import numpy as np


class Request:
    held = 0

    def __init__(self, camera: "Picamera2"):
        self._camera = camera
        self._stamp_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        Request.held += 1
        if Request.held > 1:
            raise RuntimeError("a request was not released")

    def _picture(self) -> Any:
        width, height = self._camera.size
        picture = np.random.default_rng(self._camera.number).integers(0, 40, (height, width, 3), np.uint8)
        # The mean of red is the exposure that was set.
        picture[..., 0] += np.uint8(min(200, self._camera.controls.get("ExposureTime", 0) // 100))
        self._camera.number += 1
        return picture

    def make_array(self, name: str) -> Any:
        assert name == "main"
        picture, wanted = self._picture(), self._camera.format
        if wanted == "BGR888":  # red first in memory
            return picture
        if wanted == "RGB888":
            return picture[..., ::-1]
        if wanted == "YUV420":
            return cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
        raise RuntimeError(f"Format {wanted} not supported")

    def make_buffer(self, name: str) -> Any:
        """Of NV12, with rows of the stride's length."""
        assert name == "main" and self._camera.format == "NV12"
        picture = self._picture()
        height, width = picture.shape[:2]
        planar = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).reshape(-1)
        colours = planar[height * width :].reshape(2, height // 2, width // 2)
        rows = np.zeros((height * 3 // 2, self._camera.stride), np.uint8)
        rows[:height, :width] = planar[: height * width].reshape(height, width)
        rows[height:, :width] = np.moveaxis(colours, 0, -1).reshape(height // 2, width)
        return rows.reshape(-1)

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": self._stamp_ns, **self._camera.found}

    def release(self) -> None:
        Request.held -= 1


class allocators:  # a module there
    class Allocator:
        pass

    class LibcameraAllocator:
        def __init__(self, camera: Any):
            assert camera is not None


class Picamera2:
    camera_controls = dict.fromkeys(
        ("AeEnable", "AwbEnable", "ExposureTime", "AnalogueGain", "ColourGains", "FrameDurationLimits"),
        (0, 1, 0),
    )
    camera_properties: ClassVar = {"Model": "imx477"}
    found: ClassVar = {"ExposureTime": 9000, "AnalogueGain": 2.0, "ColourGains": (2.1, 1.6)}
    opened: "Picamera2 | None" = None

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx477", "Num": 0}]

    def __init__(self, camera_num: int = 0, allocator: Any = None):
        if Picamera2.opened is not None:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        Picamera2.opened = self
        self.allocator = allocator
        self.camera = object()  # libcamera's
        self.controls: dict[str, Any] = {}
        self.number = 0
        self._running = threading.Event()

    def create_video_configuration(self, main: Any, controls: Any, queue: bool) -> dict[str, Any]:
        assert main["format"] == "BGR888"
        return {"main": main, "controls": controls, "queue": queue}

    def configure(self, configuration: dict[str, Any]) -> None:
        self.size = configuration["main"]["size"]
        # Some cameras have one format alone, whatever they are asked for.
        self.format = os.environ.get("FAKE_FORMAT", configuration["main"]["format"])
        self.stride = self.size[0] + 32
        for name in configuration["controls"]:
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        self._period_s = configuration["controls"].get("FrameDurationLimits", (33333, 33333))[0] / 1e6

    def start(self) -> None:
        self._running.set()

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": {"size": self.size, "format": self.format, "stride": self.stride}}

    def set_controls(self, controls: dict[str, Any]) -> None:
        for name in controls:
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        self.controls.update(controls)

    def capture_request(self) -> Request:
        if not self._running.is_set():
            raise RuntimeError("Camera is not running")
        time.sleep(self._period_s)
        return Request(self)

    def capture_metadata(self) -> dict[str, Any]:
        request = self.capture_request()
        metadata = request.get_metadata()
        request.release()
        return metadata

    def close(self) -> None:
        self._running.clear()
        Picamera2.opened = None
