"""Converts what a driver or a decoder gives into the one format that every later stage reads."""

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import ImageError
from edge.imaging.frame import Pixels


def as_rgb(picture: npt.NDArray[np.generic], blue_first: bool) -> Pixels:
    """Grey to RGB, 16-bit to 8, transparency dropped.

    Args:
        picture: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); uint8, or uint16 whose full scale is 65535.
        blue_first: the channels are BGR or BGRA, as OpenCV gives them.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: it is none of these.
    """
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.ndim not in (2, 3) or channels not in (1, 3, 4) or picture.size == 0:
        raise ImageError(f"a frame of shape {picture.shape}; this version reads grey, RGB and RGBA pictures")
    if picture.dtype == np.uint16:
        pixels: Pixels = (picture.view(np.uint16) >> 8).astype(np.uint8)
    elif picture.dtype == np.uint8:
        pixels = picture.view(np.uint8)
    else:
        raise ImageError(f"a frame of {picture.dtype} pixels; this version reads 8 and 16 bits")
    if channels == 3 and not blue_first:
        return np.ascontiguousarray(pixels)
    code = {
        1: cv2.COLOR_GRAY2RGB,
        3: cv2.COLOR_BGR2RGB,
        4: cv2.COLOR_BGRA2RGB if blue_first else cv2.COLOR_RGBA2RGB,
    }[channels]
    return cv2.cvtColor(pixels, code)  # type: ignore[return-value]
