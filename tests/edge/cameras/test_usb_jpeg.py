"""JPEG pictures of a USB camera: a damaged one is refused; a camera whose pictures all have faults still serves."""

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from edge.cameras.backends import opencv
from edge.cameras.backends.opencv import OpenCvCamera
from edge.cameras.settings import CameraSettings
from edge.errors import ImageError

SIDE_PX, BUFFER_BYTES = 240, 200_000


def sound(number: int) -> bytes:
    """A picture of soft noise."""
    noise = np.random.default_rng(number).integers(0, 256, (30, 30, 3), np.uint8)
    made, data = cv2.imencode(".jpg", cv2.resize(noise, (SIDE_PX, SIDE_PX)), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert made
    return data.tobytes()


def cut(data: bytes) -> bytes:
    """Half of it, with an end marker, as after a lost USB packet."""
    return data[: len(data) // 2] + b"\xff\xd9"


class FakeCapture:
    """A V4L2 camera as OpenCV shows it: `picture` makes its data, by number; the buffer holds rests of older ones."""

    picture: Callable[[int], bytes] = staticmethod(sound)
    fourcc = "MJPG"

    def __init__(self) -> None:
        self._numbers, self._data, self.converts = itertools.count(), b"", True
        self._buffer = np.zeros(BUFFER_BYTES, np.uint8)

    def open(self, *_: object) -> bool:
        return True

    def isOpened(self) -> bool:
        return True

    def set(self, name: int, value: float) -> bool:
        if name == cv2.CAP_PROP_CONVERT_RGB:
            self.converts = bool(value)
        return True

    def get(self, name: int) -> float:
        return cv2.VideoWriter.fourcc(*self.fourcc) if name == cv2.CAP_PROP_FOURCC else SIDE_PX

    def grab(self) -> bool:
        self._data = type(self).picture(next(self._numbers))
        self._buffer[: len(self._data)] = np.frombuffer(self._data, np.uint8)
        return True

    def retrieve(self, _buffer: Any = None) -> tuple[bool, Any]:
        if self.converts:
            picture = cv2.imdecode(np.frombuffer(self._data, np.uint8), cv2.IMREAD_COLOR)
            return picture is not None, picture
        return True, self._buffer.reshape(1, -1)

    def read(self) -> tuple[bool, Any]:
        self.grab()
        return self.retrieve()

    def release(self) -> None:
        """Nothing is open."""


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpenCvCamera]:
    def make(picture: Callable[[int], bytes], fourcc: str = "MJPG", region_px: int = 0) -> OpenCvCamera:
        kind = type("Camera", (FakeCapture,), {"picture": staticmethod(picture), "fourcc": fourcc})
        monkeypatch.setattr(opencv.cv2, "VideoCapture", kind)
        monkeypatch.setattr(opencv, "_why_no_device", lambda _device: "")
        monkeypatch.setattr(opencv, "CONTROLS_SETTLE_S", 0.0)
        made = OpenCvCamera(CameraSettings(source="/dev/video0"), region_px)
        made.open()
        return made

    return make


def test_the_picture_is_that_of_opencv_and_a_damaged_one_is_refused(
    camera: Callable[..., OpenCvCamera],
) -> None:
    damaged: set[int] = set()
    numbers: list[int] = []

    def picture(number: int) -> bytes:
        numbers.append(number)
        return cut(sound(number)) if number in damaged else sound(number)

    usb = camera(picture)
    assert "damaged pictures" not in usb.description
    frame = usb.read()
    expected = cv2.imdecode(np.frombuffer(sound(numbers[-1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(frame.pixels, expected)
    damaged.add(numbers[-1] + 1)
    with pytest.raises(ImageError, match="/dev/video0: damaged"):
        usb.read()
    assert usb.read().pixels.shape == (SIDE_PX, SIDE_PX, 3)


def test_only_the_centre_is_given_if_that_is_asked(camera: Callable[..., OpenCvCamera]) -> None:
    assert camera(sound, region_px=96).read().pixels.shape == (96, 96, 3)


def test_a_camera_of_which_no_picture_is_sound_is_left_to_opencv_and_that_is_said(
    camera: Callable[..., OpenCvCamera],
) -> None:
    usb = camera(lambda number: cut(sound(number)))
    assert "damaged pictures are not found" in usb.description
    assert usb.read().pixels.shape == (SIDE_PX, SIDE_PX, 3)


def test_one_damaged_picture_at_the_beginning_does_not_switch_the_check_off(
    camera: Callable[..., OpenCvCamera],
) -> None:
    usb = camera(lambda number: cut(sound(number)) if number % 2 == 0 else sound(number))
    assert "damaged pictures" not in usb.description
    kinds = []
    for _ in range(4):
        try:
            kinds.append(usb.read().pixels.shape[0])
        except ImageError:
            kinds.append(0)
    assert sorted(kinds) == [0, 0, SIDE_PX, SIDE_PX]


def test_raw_pixels_are_read_as_before(camera: Callable[..., OpenCvCamera]) -> None:
    usb = camera(sound, fourcc="YUYV")
    assert "damaged" not in usb.description and usb.read().pixels.shape == (SIDE_PX, SIDE_PX, 3)
