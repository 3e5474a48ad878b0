"""picamera2's documented API, as far as the back-end uses it, for machines that have no such camera.

Put under the name `picamera2` on a child's path; what its back-end asked for is checked as the real one
does: an unknown control is an error, a request has to be released, and a closed camera refuses.
"""

import threading
import time
from typing import Any, ClassVar

import numpy as np


class Request:
    held = 0

    def __init__(self, camera: "Picamera2"):
        self._camera = camera
        self._stamp_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        Request.held += 1
        if Request.held > 1:
            raise RuntimeError("a request was not released")

    def make_array(self, name: str) -> Any:
        assert name == "main"
        width, height = self._camera.size
        picture = np.random.default_rng(self._camera.number).integers(0, 40, (height, width, 3), np.uint8)
        # "BGR888" is red first in memory; the mean of red is the exposure that was set.
        picture[..., 0] += np.uint8(min(200, self._camera.controls.get("ExposureTime", 0) // 100))
        self._camera.number += 1
        return picture

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": self._stamp_ns, **self._camera.found}

    def release(self) -> None:
        Request.held -= 1


class Picamera2:
    camera_controls = dict.fromkeys(
        ("AeEnable", "AwbEnable", "ExposureTime", "AnalogueGain", "ColourGains", "FrameRate"), (0, 1, 0)
    )
    camera_properties: ClassVar = {"Model": "imx477"}
    found: ClassVar = {"ExposureTime": 9000, "AnalogueGain": 2.0, "ColourGains": (2.1, 1.6)}
    opened: "Picamera2 | None" = None

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx477", "Num": 0}]

    def __init__(self, camera_num: int = 0):
        if Picamera2.opened is not None:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        Picamera2.opened = self
        self.controls: dict[str, Any] = {}
        self.number = 0
        self._running = threading.Event()

    def create_video_configuration(self, main: Any, controls: Any, queue: bool) -> dict[str, Any]:
        assert main["format"] == "BGR888"
        return {"main": main, "controls": controls, "queue": queue}

    def configure(self, configuration: dict[str, Any]) -> None:
        self.size = configuration["main"]["size"]
        self._period_s = 1 / configuration["controls"].get("FrameRate", 30.0)

    def start(self) -> None:
        self._running.set()

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": {"size": self.size}}

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
