"""Checks whether a live camera still shows something: finds frozen, black and saturated frames."""

import numpy as np

from edge.imaging.frame import Pixels

BLOCK_ROWS = 16
"""Rows that are compared at a time: sensor noise makes the first block of two frames differ."""

SAMPLE_STEP_PX = 16
"""Light is judged on every 16th pixel of every 16th row."""

BLACK_LEVEL, SATURATED_LEVEL = 16, 250
"""8-bit levels: a frame is black if all pixels are at or below the first, saturated if all are at or above the
second."""

ALL_BUT = 0.002
"""Share of pixels that may differ: a cell on black, as simulated, covers 0.017 of a 1920 x 1080 frame."""


def identical(before: Pixels, after: Pixels) -> bool:
    """Are all pixels of two frames the same?"""
    if before.shape != after.shape:
        return False
    row = before.shape[0] // 2
    if before[row].tobytes() != after[row].tobytes():  # nearly every frame: to compare one row takes 2 µs
        return False
    return all(
        np.array_equal(before[row : row + BLOCK_ROWS], after[row : row + BLOCK_ROWS])
        for row in range(0, before.shape[0], BLOCK_ROWS)
    )


def light(pixels: Pixels) -> str:
    """What is wrong with the light of a whole frame: "black", "saturated", or "" if nothing is.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    sample = pixels[::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX]
    limit = ALL_BUT * sample.shape[0] * sample.shape[1]
    green = sample[..., 1]
    for seen in (green[len(green) // 2], green):  # of nearly every frame one row is enough
        if np.count_nonzero(seen > BLACK_LEVEL) > limit < np.count_nonzero(seen < SATURATED_LEVEL):
            return ""
    if np.count_nonzero(sample.max(axis=2) > BLACK_LEVEL) <= limit:
        return "black"
    if np.count_nonzero(sample.min(axis=2) < SATURATED_LEVEL) <= limit:
        return "saturated"
    return ""
