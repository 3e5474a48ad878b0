"""What is wrong with a whole field, before its cells are asked for."""

import cv2
import numpy as np

from edge.imaging.frame import Pixels

LOOK_SIDE_PX = 256
MIN_WHITE_LEVELS = 40.0
"""Where even the brightest twentieth of a field is darker than this, it is black: no lamp, or a closed shutter."""

MAX_SATURATED = 0.97
"""A field of which a larger share is white beyond measure shows no cells: too much light."""

MIN_CONTRAST_LEVELS = 3.0
"""Standard deviation of green under it: nothing is in the field."""

MIN_SHARPNESS = 0.09
"""Detail of one pixel's width over that of two, at the size that the finder sees. Smears blurred until a person calls
them out of focus have less."""


def reasons(field: Pixels) -> list[str]:
    """Why no cell can be found in a field; empty where nothing speaks against it.

    Args:
        field: (H, W, 3) uint8 RGB.
    """
    step = max(1, max(field.shape[:2]) // LOOK_SIDE_PX)
    look = np.ascontiguousarray(field[::step, ::step])
    green = cv2.extractChannel(look, 1)
    white = float(np.quantile(green, 0.95))
    if white < MIN_WHITE_LEVELS:
        return [f"black: the brightest part of the field has {white:.0f} levels; is the lamp on?"]
    saturated = float((look.min(axis=2) >= 254).mean())
    if saturated > MAX_SATURATED:
        return [f"overexposed: {saturated:.0%} of the field is white beyond measure; less light or exposure"]
    contrast = float(green.std())
    if contrast < MIN_CONTRAST_LEVELS:
        return [f"empty: the field has no contrast ({contrast:.1f} levels)"]
    return []
