"""Finds the white cell in a crop and blackens everything else, so that a live frame looks like the training data."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.frame import Pixels

SIDE_PX = 128
"""The cell is searched for in a crop resized to this: fast, and no nucleus is lost."""

STAIN_PART = 1 / 3
"""Of Otsu's threshold between nucleus and the rest, in levels of blue above green: cytoplasm is paler than the
nucleus. `python -m train.studies.background` compares the parts."""

MIN_STAIN_LEVELS = 12
"""Minimum of that threshold, for crops in which Otsu's method splits only noise; red cells and an empty field have
0."""

_OPEN = np.ones((3, 3), np.uint8)
_MARGIN = np.ones((5, 5), np.uint8)
_ROUND = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
"""Removes what is thinner than 15 px: rims of red cells that touch the cell."""


def cell_mask(crop: Pixels) -> npt.NDArray[np.uint8]:
    """The largest stained piece near the middle, its holes filled.

    Args:
        crop: (S, S, 3) uint8 RGB, a whole cell in its middle.

    Returns:
        (128, 128) uint8: 1 on the cell, 0 elsewhere; all 0 if there is none.
    """
    small = cv2.resize(crop, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
    stain = cv2.subtract(cv2.extractChannel(small, 2), cv2.extractChannel(small, 1))
    stain = cv2.blur(stain, (5, 5))
    otsu, _ = cv2.threshold(stain, 0, 255, cv2.THRESH_OTSU)
    limit = max(MIN_STAIN_LEVELS, otsu * STAIN_PART)
    _, stained = cv2.threshold(stain, limit, 1, cv2.THRESH_BINARY)
    stained = cv2.morphologyEx(stained, cv2.MORPH_OPEN, _OPEN)
    count, pieces, stats, centres = cv2.connectedComponentsWithStats(stained)
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    if count < 2:
        return mask
    # A piece is weighted by its position: 0 at the border of the crop, its whole area in the centre.
    way = np.hypot(*(centres[1:] - SIDE_PX / 2).T) / (SIDE_PX / 2)
    scores = stats[1:, cv2.CC_STAT_AREA] * np.maximum(0.0, 1.0 - way)
    piece: npt.NDArray[Any] = (pieces == 1 + int(np.argmax(scores))).astype(np.uint8)
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _ROUND)  # type: ignore[assignment]
    return cv2.dilate(mask, _MARGIN)  # type: ignore[return-value]


def blacken(crop: Pixels) -> Pixels:
    """The crop with all black but its cell.

    Args:
        crop: (S, S, 3) uint8 RGB.

    Returns:
        (S, S, 3) uint8 RGB, all black if there is no cell.
    """
    mask = cv2.resize(cell_mask(crop), crop.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return cv2.bitwise_and(crop, crop, mask=mask)  # type: ignore[return-value]
