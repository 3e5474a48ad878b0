"""Centre crop and resize: the one code that training, export and the box all call."""

from typing import Any, Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.imaging.frame import Pixels

Interpolation = Literal["area", "linear"]

_CV2_INTERPOLATION = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


class Geometry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a frame becomes the network's input.

    Attributes:
        crop: side of the centred square that is cut out, in pixels of the frame. C-NMC cells are
            450×450; 448 keeps 99.8 % of them whole and is exactly twice 224.
        size: side of the network's input, in pixels.
        interpolation: how the crop is resized. "area" averages exactly, so nothing of the cell is skipped;
            fast where the crop is twice the size, slow at every other ratio. "linear" halves by averaging
            until less than two pixels become one, and goes on between the nearest pixels: nothing is
            skipped either, and it is fast at any ratio.
    """

    crop: int = 448
    size: int = 224
    interpolation: Interpolation = "area"

    def __post_init__(self) -> None:
        for name, value in (("crop", self.crop), ("size", self.size)):
            if not 1 <= value <= 8192:
                raise ValueError(f"geometry {name} is {value}, not between 1 and 8192 pixels")


def with_crop(geometry: Geometry, crop_px: int | None) -> Geometry:
    """The same geometry with another crop, where one is given."""
    return geometry if crop_px is None else msgspec.structs.replace(geometry, crop=crop_px)


def centre(picture: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """The centred part of at most `side` x `side` px, without padding, as a view; all of it if `side` is 0.

    Where the margin is odd, the extra pixel stays at the bottom and right.
    """
    if not side:
        return picture
    height, width = picture.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return picture[top : top + side, left : left + side]


def centre_crop(pixels: Pixels, side: int) -> Pixels:
    """The centred square of `side` pixels, padded with black where the frame is smaller.

    Black is C-NMC's own background. Where the margin is odd, the extra pixel stays at the bottom
    and right. The result is a view unless it had to be padded.

    Args:
        pixels: (H, W, 3) uint8.
        side: pixels.

    Returns:
        (side, side, 3) uint8.
    """
    part = centre(pixels, side)
    height, width = part.shape[:2]
    if (height, width) == (side, side):
        return part
    top, left = (side - height) // 2, (side - width) // 2
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[top : top + height, left : left + width] = part
    return canvas


def is_bgr_view(pixels: Pixels) -> bool:
    """Whether this is a BGR picture viewed as RGB, `bgr[..., ::-1]`: the channels in memory are reversed."""
    return pixels.strides[2] == -1


def prepare(pixels: Pixels, geometry: Geometry, out: Pixels | None = None) -> Pixels:
    """Crop and resize one frame to the network's input.

    The frame is cut first, so its size costs nothing. A camera that gives BGR need not convert it: as the
    view `bgr[..., ::-1]` it is RGB, and only the small result is turned.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        geometry: what to cut out and how large to make it.
        out: (size, size, 3) uint8 to write into, where given.

    Returns:
        (size, size, 3) uint8 RGB; `out` if it was given.

    Raises:
        InputError: the frame is not (H, W, 3) uint8.
    """
    expect_rgb(pixels)
    crop = centre_crop(pixels, geometry.crop)
    bgr = is_bgr_view(crop)
    if bgr:
        crop = crop[..., ::-1]
    if geometry.interpolation == "linear":
        crop = _halved(crop, geometry.size)
    size = (geometry.size, geometry.size)
    small = cv2.resize(crop, size, dst=out, interpolation=_CV2_INTERPOLATION[geometry.interpolation])
    if bgr:
        cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=small)
    return small  # type: ignore[return-value]


def _halved(crop: Pixels, size: int) -> Pixels:
    """Averaged over 2x2 pixels, again and again, while it is more than twice `size`.

    Of an odd side the last row and column are left out.
    """
    while (half := crop.shape[0] // 2) > size:
        crop = cv2.resize(crop[: 2 * half, : 2 * half], (half, half), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return crop


def expect_rgb(pixels: Pixels) -> None:
    """Refuse an array that is not a picture.

    Raises:
        InputError: it is not (H, W, 3) uint8.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(
            f"the frame is {pixels.dtype} of shape {pixels.shape}; give (height, width, 3) uint8 RGB"
        )
