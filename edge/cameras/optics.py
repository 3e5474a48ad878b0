"""Flat-field correction and white balance: an even, neutral picture under an uneven, tinted lamp.

`leukoscope calibrate` measures an empty field and stores a gain for each position and colour; the daemon multiplies
every frame by these gains, in integers, within the part that is cut out.
"""

import io
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge.cameras.settings import CameraSettings
from edge.errors import InputError, LeukoscopeError
from edge.host.durable import replace_file
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import centre

Blocks = npt.NDArray[Any]
"""(h, w, 3) float32: means of blocks of pixels; or (3,): of all of them."""

SHIFT = 12
"""Gains are stored as whole numbers of 1/4096."""

BLOCK_PX = 16
"""Side of the blocks in which the field is measured, pixels: light changes slowly over it, and noise averages out."""

SMALLEST_FIELD_LEVELS, LARGEST_FIELD_LEVELS = 40, 250
"""An empty field darker or brighter than this cannot be corrected: it is lost in noise, or clipped at 255."""

LARGEST_GAIN = 4.0

MAX_STRUCTURE = 0.03
"""Standard deviation between neighbouring blocks over their mean: more is no empty field. A smear's field has
0.05 and more; a lamp whose light falls to half at the corners 0.01."""

WATCH_EVERY, WINDOW = 5, 20
"""Every fifth frame is measured; the median of twenty of them shows whether the background has changed."""

TOLERANCE = 0.1
"""How far a channel of the background may differ from the mean of all three, and the mean from its old level."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration belongs to, and what it found.

    Attributes:
        made_for: the settings that it depends on.
        height, width: of the frames.
        level: that an empty field has after the correction, 8-bit.
        field_rgb: means of the empty field before it.
        unevenness, corrected_unevenness: standard deviation over the mean of the empty field's green blocks.
    """

    made_for: dict[str, str | float]
    height: int
    width: int
    level: float
    field_rgb: list[float]
    unevenness: float
    corrected_unevenness: float


def depends_on(camera: CameraSettings) -> dict[str, str | float]:
    """The settings that change how an empty field looks."""
    names = ("source", "width", "height", "exposure_us", "gain", "red_gain", "blue_gain", "white_balance_k")
    return {name: getattr(camera, name) for name in names}


def measure_field(frames: list[Pixels], camera: CameraSettings) -> tuple[Header, npt.NDArray[np.uint16]]:
    """A calibration from frames of an empty field.

    Args:
        frames: each (H, W, 3) uint8 RGB.

    Returns:
        The header, and (H / 16, W / 16, 3) uint16: the gains in 1/4096.

    Raises:
        LeukoscopeError: this is no empty field, or it is too dark or too bright.
    """
    height, width = frames[0].shape[:2]
    mean = _mean_blocks(frames)
    # A grain of dust is no property of the lamp.
    field: Blocks = np.maximum(cv2.medianBlur(mean, 3), 1.0)
    rgb = field.mean(axis=(0, 1))
    _refuse_what_is_no_empty_field(mean, rgb)
    level = float(rgb.mean())
    gains = np.clip(level / field, 0.0, LARGEST_GAIN)
    even = (mean * gains)[..., 1]
    header = Header(
        made_for=depends_on(camera),
        height=height,
        width=width,
        level=round(level, 1),
        field_rgb=[round(float(value), 1) for value in rgb],
        unevenness=round(float(field[..., 1].std() / rgb[1]), 4),
        corrected_unevenness=round(float(even.std() / even.mean()), 4),
    )
    return header, np.rint(gains * (1 << SHIFT)).astype(np.uint16)


def _mean_blocks(frames: list[Pixels]) -> Blocks:
    return np.stack([_blocks(frame) for frame in frames]).mean(axis=0, dtype=np.float32)  # type: ignore[no-any-return]


def _blocks(frame: Pixels) -> Blocks:
    size = (max(1, frame.shape[1] // BLOCK_PX), max(1, frame.shape[0] // BLOCK_PX))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _refuse_what_is_no_empty_field(mean: Blocks, rgb: Blocks) -> None:
    levels = (
        f"this is no empty, lit field: red, green, blue are {', '.join(f'{value:.0f}' for value in rgb)} and at most "
        f"{mean.max():.0f} of 255; move to a place without cells, and set lamp and exposure so that all lie between "
        f"{SMALLEST_FIELD_LEVELS} and {LARGEST_FIELD_LEVELS}"
    )
    if rgb.min() < SMALLEST_FIELD_LEVELS:
        raise LeukoscopeError(levels)
    steps = [np.diff(mean, 2, axis=axis).std() / rgb.mean() for axis in (0, 1) if mean.shape[axis] > 2]
    structure = max(steps, default=0.0)
    if structure > MAX_STRUCTURE:
        raise LeukoscopeError(
            f"the field is not empty: neighbouring blocks differ by {structure:.1%}, over {MAX_STRUCTURE:.0%}; move "
            "to a place without cells and defocus a little"
        )
    if mean.max() > LARGEST_FIELD_LEVELS:
        raise LeukoscopeError(levels)


def save(file: Path, header: Header, gains: npt.NDArray[np.uint16]) -> None:
    """Store a calibration, whole or not at all.

    Raises:
        LeukoscopeError: the file cannot be written.
    """
    buffer = io.BytesIO()
    text = np.frombuffer(msgspec.json.encode(header), np.uint8)
    np.savez_compressed(buffer, header=text, gains=gains)
    replace_file(file, buffer.getvalue())


def load(file: Path) -> tuple[Header, npt.NDArray[np.uint16]]:
    """Read a calibration.

    Raises:
        InputError: it is missing, or is none.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            header = msgspec.json.decode(stored["header"].tobytes(), type=Header)
            gains = stored["gains"]
    except FileNotFoundError as error:
        raise InputError(f"camera.calibration {file}: no such file; run leukoscope calibrate") from error
    except (OSError, ValueError, KeyError, EOFError, msgspec.MsgspecError) as error:
        raise InputError(
            f"camera.calibration {file}: not a calibration ({error}); run leukoscope calibrate"
        ) from error
    if gains.dtype != np.uint16 or gains.ndim != 3 or gains.shape[2] != 3:
        raise InputError(f"camera.calibration {file}: holds no gains; run leukoscope calibrate")
    return header, gains


class Correction:
    """Applies a calibration to frames, and watches whether it still fits.

    Args:
        file: from `leukoscope calibrate`.
        camera: the settings that frames are taken with.
        region_px: side of the centred square that is cut out of a frame.

    Raises:
        InputError: there is no calibration in the file, or it was made with other settings.
    """

    def __init__(self, file: Path, camera: CameraSettings, region_px: int):
        self._header, coarse = load(file)
        changed = [
            f"{name} was {self._header.made_for.get(name)!r} and is {value!r}"
            for name, value in depends_on(camera).items()
            if self._header.made_for.get(name) != value
        ]
        if changed:
            raise InputError(
                f"camera.calibration {file} was made with other settings: {'; '.join(changed)}; run leukoscope calibrate"
            )
        size = (self._header.width, self._header.height)
        self._gains = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
        self._region_px = region_px
        self._part: npt.NDArray[np.uint32] | None = None
        self._buffer: npt.NDArray[np.uint32] | None = None
        self._frames = 0
        self._backgrounds: deque[npt.NDArray[np.float64]] = deque(maxlen=WINDOW)

    def apply(self, pixels: Pixels) -> Pixels:
        """The centred square of a frame, even and neutral.

        Args:
            pixels: (H, W, 3) uint8 RGB, a whole frame or already its centred square.

        Returns:
            (S, S, 3) uint8 RGB, or less where the frame is smaller.

        Raises:
            InputError: the frame has another size than those of the calibration.
        """
        side = self._region_px
        height, width = pixels.shape[:2]
        if max(height, width) > side:
            if (height, width) != (self._header.height, self._header.width):
                raise InputError(
                    f"the frame has {width} x {height} px, the calibration was made with {self._header.width} x "
                    f"{self._header.height}; run leukoscope calibrate"
                )
            pixels = centre(pixels, side)
        if self._part is None or self._part.shape != pixels.shape:
            self._part = centre(centre(self._gains, side), max(pixels.shape[:2])).astype(np.uint32)
            if self._part.shape != pixels.shape:
                raise InputError(
                    f"the frame has {width} x {height} px, which the calibration of {self._header.width} x "
                    f"{self._header.height} px does not cover; run leukoscope calibrate"
                )
            self._buffer = np.empty_like(self._part)
        product = np.multiply(pixels, self._part, out=self._buffer)
        product += 1 << (SHIFT - 1)
        product >>= SHIFT
        np.minimum(product, 255, out=product)
        corrected: Pixels = product.astype(np.uint8)
        self._watch(corrected)
        return corrected

    def _watch(self, corrected: Pixels) -> None:
        """Note the brightest quarter: what the field has where no cell is."""
        self._frames += 1
        if self._frames % WATCH_EVERY:
            return
        coarse = cv2.resize(corrected, (BLOCK_PX, BLOCK_PX), interpolation=cv2.INTER_NEAREST).reshape(-1, 3)
        green = coarse[:, 1]
        brightest = coarse[green >= np.percentile(green, 75)]
        self._backgrounds.append(np.median(brightest, axis=0))

    @property
    def fault(self) -> str:
        """Why the calibration no longer fits, or ""."""
        if len(self._backgrounds) < WINDOW:
            return ""
        rgb = np.median(np.stack(self._backgrounds), axis=0)
        level = float(rgb.mean())
        if level < self._header.level * 0.5:  # cells fill the field, or black surrounds them
            return ""
        tint = float(np.abs(rgb / level - 1).max())
        if tint > TOLERANCE:
            return (
                f"the calibration no longer fits: the background is tinted by {tint:.0%} (red, green, blue "
                f"{', '.join(f'{value:.0f}' for value in rgb)}); run leukoscope calibrate"
            )
        change = level / self._header.level - 1
        if abs(change) > TOLERANCE * 2:
            return (
                f"the calibration no longer fits: the background is {abs(change):.0%} "
                f"{'darker' if change < 0 else 'brighter'} than it was; check the lamp or run leukoscope calibrate"
            )
        return ""
