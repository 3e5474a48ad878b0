"""What is wrong with a whole field, before its cells are asked for."""

import cv2

from edge.imaging import quality
from edge.imaging.frame import Pixels

BLOCKS = 16
MIN_WHITE_LEVELS = 40
"""If the brightest of 16 x 16 parts of a field is darker than this, the field is black: no lamp, or a closed
shutter."""

MAX_SATURATED = 0.97
"""A field of which a larger share is saturated shows no cells: too much light."""

MIN_CONTRAST_LEVELS = 3.0
"""Standard deviation of green under it: nothing is in the field."""


SHARPNESS_PX_OF_TRAINING = 2.0
"""Focus is measured in a picture in which one pixel stands for this many pixels of the training images."""

MIN_SHARPNESS = 0.36
"""Of a cell with what is around it, as `edge.imaging.quality.measure` gives it; less is out of focus. Sharp fields of
three laboratories have 0.39 and more (the 5th percentile of the softest), blurred by 2.2 px at that size 0.35 and less
at the median. On a black background it is meaningless: the edge of the cut-out is always sharp."""


def sharpness(crop: Pixels, crop_px: int) -> float:
    """How sharp a cell and what is around it are; see `MIN_SHARPNESS`.

    Args:
        crop: (S, S, 3) uint8 RGB, not blackened.
        crop_px: side of it in pixels of the training's images.
    """
    side = max(8, round(crop_px / SHARPNESS_PX_OF_TRAINING))
    if side != crop.shape[0]:
        crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return quality.sharpness(crop)


def reasons(look: Pixels) -> list[str]:
    """Why no cell can be found in a field; empty if there is no reason.

    Args:
        look: (h, w, 3) uint8 RGB, the field as `edge.imaging.field.lamp.small_look` shows it.
    """
    green = cv2.extractChannel(look, 1)
    white = int(cv2.resize(green, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA).max())
    if white < MIN_WHITE_LEVELS:
        return [f"black: the brightest part of the field has {white} levels; is the lamp on?"]
    saturated = 0.0
    if cv2.countNonZero(cv2.threshold(green, 253, 1, cv2.THRESH_BINARY)[1]) > MAX_SATURATED * green.size:
        full = (254, 254, 254)
        saturated = cv2.countNonZero(cv2.inRange(look, full, (255, 255, 255))) / green.size
    if saturated > MAX_SATURATED:
        return [f"overexposed: {saturated:.0%} of the field is saturated; reduce light or exposure"]
    contrast = float(cv2.meanStdDev(green)[1][0, 0])
    if contrast < MIN_CONTRAST_LEVELS:
        return [f"empty: the field has no contrast ({contrast:.1f} levels)"]
    return []
