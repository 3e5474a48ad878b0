"""A camera without a microscope: it draws stained cells from a seed, with the faults of real optics."""

import functools
import math
import threading
import time

import cv2
import numpy as np
import numpy.typing as npt

from edge.cameras.backends.drawing import Plane, smear_field, white_cell
from edge.cameras.settings import SimulatorSettings
from edge.errors import InputError, LeukoscopeError
from edge.imaging.frame import Frame, Pixels

# The drawings have the pixel size of C-NMC 2019. A frame whose shorter side is smaller than theirs shows
# the same scene, made smaller; a larger one shows more of it, as a larger sensor does.
DRAWN_SIDE_PX = 450
SMALLEST_SIDE_PX, LARGEST_FRAME_PX, LONGEST_TO_SHORTEST = 32, 16_777_216, 8
SENSED_ROWS = 16
"""So many rows become levels at once: with noise that takes 20 bytes of memory for each value."""
CENTRE_JITTER_PX = 1.5
"""Sigma of the cell's distance from the centre: the 10th to 90th percentile in C-NMC is -2.6 to 1.0 px."""


def draw(settings: SimulatorSettings, width: int, height: int, frame_number: int) -> Pixels:
    """One frame; its scene follows from seed, number and size alone, so other optics show the same cells.

    Args:
        settings: what to draw.
        width: px.
        height: px.
        frame_number: from 0; each shows other cells.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        InputError: the size is out of range.
    """
    _check_size(width, height)
    rng = np.random.default_rng([settings.seed, frame_number])
    if settings.kind == "cell":
        cell, left, top = _cell_on_black(rng, settings, width, height)
    else:
        zoom = _zoom(width, height)
        picture = smear_field(rng, math.ceil(width / zoom), math.ceil(height / zoom))
        if zoom < 1.0:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        cell, left, top = _blurred(picture, settings.blur_px), 0, 0
    # Its own generator: the drawing may change without changing the noise.
    noise = np.random.default_rng([settings.seed, frame_number, 1])
    return _sensed(cell, left, top, (height, width, 3), settings, noise)


def _check_size(width: int, height: int) -> None:
    short, long = min(width, height), max(width, height)
    if short < SMALLEST_SIDE_PX or width * height > LARGEST_FRAME_PX or long > LONGEST_TO_SHORTEST * short:
        raise InputError(
            f"the simulator cannot draw {width} x {height} px; give sides of {SMALLEST_SIDE_PX} or more, one "
            f"at most {LONGEST_TO_SHORTEST} times the other, and at most {LARGEST_FRAME_PX} pixels together"
        )


def _zoom(width: int, height: int) -> float:
    return min(1.0, min(width, height) / DRAWN_SIDE_PX)


def _cell_on_black(
    rng: np.random.Generator, settings: SimulatorSettings, width: int, height: int
) -> tuple[Plane, int, int]:
    """(H, W, 3) float32: the cell, blurred, and where its left and its top lie, near the middle; all else is black."""
    colours, coverage = white_cell(rng)
    patch: Plane = colours * coverage[..., None]
    zoom = _zoom(width, height)
    side = max(1, round(patch.shape[0] * zoom))
    if zoom < 1.0:
        patch = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    dx, dy = np.clip(rng.normal(0.0, CENTRE_JITTER_PX * zoom, 2), -4.0 * zoom, 4.0 * zoom)
    left, top = round((width - side) / 2 + dx), round((height - side) / 2 + dy)
    margin = _reach_px(settings.blur_px)
    before_y, before_x = min(margin, top), min(margin, left)
    after_y, after_x = min(margin, height - top - side), min(margin, width - left - side)
    window = cv2.copyMakeBorder(patch, before_y, after_y, before_x, after_x, cv2.BORDER_CONSTANT)
    return _blurred(window, settings.blur_px), left - before_x, top - before_y  # type: ignore[arg-type]


def _reach_px(blur_px: float) -> int:
    return math.ceil(3.0 * blur_px)


def _blurred(picture: Plane, blur_px: float) -> Plane:
    if blur_px <= 0.0:
        return picture
    kernel = 2 * _reach_px(blur_px) + 1
    return cv2.GaussianBlur(picture, (kernel, kernel), blur_px)  # type: ignore[return-value]


def _illumination(width: int, gradient: float) -> npt.NDArray[np.float32]:
    """(width,) float32: brightness of each column, from 1 at the left to 1 - gradient at the right."""
    return np.linspace(1.0, 1.0 - gradient, width, dtype=np.float32)


@functools.cache
def _normal_numbers() -> npt.NDArray[np.float32]:
    """(65536,) float32, looked up by random 16-bit numbers: mean 0, deviation 1, normal."""
    half = np.random.default_rng(0).standard_normal(32768, np.float32)
    numbers = np.concatenate([half, -half])
    return np.asarray(numbers / numbers.std(dtype=np.float64), np.float32)


def _sensed(
    part: Plane,
    left: int,
    top: int,
    shape: tuple[int, int, int],
    settings: SimulatorSettings,
    rng: np.random.Generator,
) -> Pixels:
    """A frame of that shape, black around the part, as 8-bit levels: unevenly lit and with noise.

    A table is five times as fast as drawing normal numbers.
    """
    sensed = np.empty(shape, np.uint8)
    lit = _illumination(shape[1], settings.gradient)[None, :, None]
    for first in range(0, shape[0], SENSED_ROWS):
        rows = np.zeros((min(SENSED_ROWS, shape[0] - first), *shape[1:]), np.float32)
        shown = part[max(0, first - top) : max(0, first + len(rows) - top)]
        below = max(0, top - first)
        rows[below : below + len(shown), left : left + part.shape[1]] = shown
        if settings.gradient > 0.0:
            rows *= lit
        if settings.noise_sigma_levels > 0.0:
            numbers = np.frombuffer(rng.bytes(2 * rows.size), np.dtype("<u2"))
            noise = _normal_numbers().take(numbers).reshape(rows.shape)
            rows = cv2.scaleAdd(noise, settings.noise_sigma_levels, rows)  # type: ignore[assignment]
        sensed[first : first + len(rows)] = cv2.add(rows, 0.0, dtype=cv2.CV_8U)  # type: ignore[call-overload]  # rounds, clips
    return sensed


class SimulatorCamera:
    """A live camera of drawn cells; frame numbers continue after `close` and `open`."""

    live = True

    def __init__(
        self, settings: SimulatorSettings, width: int, height: int, fps: float, specimen: str = ""
    ) -> None:
        """Set up, without drawing anything.

        Args:
            settings: what to draw.
            width: of each frame, px.
            height: of each frame, px.
            fps: frames per second; 0 or less is as fast as they can be drawn.
            specimen: of every frame; "" for "simulated".

        Raises:
            InputError: the size is out of range.
        """
        _check_size(width, height)
        self.description = f"{width} x {height} px, drawn"
        self._settings = settings
        self._specimen = specimen or "simulated"
        self._width, self._height = width, height
        self._period_s = 1.0 / fps if fps > 0.0 else 0.0
        self._due_s = 0.0
        self._frame_number = 0
        self._closed = threading.Event()
        self._closed.set()

    def open(self) -> None:
        """Make ready to read; the first frame is due at once."""
        self._due_s = time.monotonic()
        self._closed.clear()

    def read(self) -> Frame:
        """The next frame, at its time; one that `close` interrupts comes at once.

        Raises:
            LeukoscopeError: the camera is not open.
        """
        if self._closed.is_set():
            raise LeukoscopeError("the simulator is closed; open it before reading")
        number, settings = self._frame_number, self._settings
        pixels = draw(settings, self._width, self._height, number)
        self._frame_number += 1
        if self._period_s > 0.0:
            self._closed.wait(max(0.0, self._due_s - time.monotonic()))
            # A reader that was late once skips the missed frames, rather than get a burst of old ones.
            self._due_s = max(self._due_s + self._period_s, time.monotonic())
        return Frame(
            pixels=pixels,
            captured_at_ns=time.time_ns(),
            monotonic_ns=time.monotonic_ns(),
            source=f"simulator (simulated {settings.kind}, seed {settings.seed}, frame {number})",
            specimen=self._specimen,
        )

    def close(self) -> None:
        """Stop; a `read` that waits returns its frame at once."""
        self._closed.set()
