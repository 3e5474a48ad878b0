"""A cell cut out of its field like the training cells: black around it, its centroid in the centre, at the same
scale."""

import cv2
import numpy as np

from edge.imaging.field.cells import NOTHING, Cell
from edge.imaging.field.lamp import Lamp
from edge.imaging.field.outline import WORK_SIDE_PX, Mask, Outline, fine_mask
from edge.imaging.field.resize import resized
from edge.imaging.frame import Pixels

ROOM_LOGIT = -1.6
"""Of an outline that leaves some room around its cell."""


def centroid(cell: Cell) -> tuple[float, float]:
    """x and y of the middle of a cell's outline, pixels of the field; C-NMC's cells are centred by it."""
    moments = cv2.moments((cell.outline > 0).view(np.uint8))
    if not moments["m00"]:
        return cell.centre
    left, top, width, height = cell.outline_box
    rows, columns = cell.outline.shape
    x = left + (moments["m10"] / moments["m00"] + 0.5) * width / columns
    y = top + (moments["m01"] / moments["m00"] + 0.5) * height / rows
    return x, y


def area_px(cell: Cell) -> float:
    """Area of a cell's outline, pixels of the field."""
    _, _, width, height = cell.outline_box
    return float(np.count_nonzero(cell.outline > 0) / cell.outline.size * width * height)


def cut_out(field: Pixels, lamp: Lamp, cell: Cell, side_px: float, size: int) -> tuple[Pixels, Mask, Mask]:
    """The square around a cell, even and neutral, and the cell's masks; blacken with `blackened`.

    Args:
        field: (H, W, 3) uint8 RGB.
        lamp: of this field.
        cell: to cut out.
        side_px: of the square, pixels of the field.
        size: of the result.

    Returns:
        (size, size, 3) uint8 RGB; (size, size) uint8, 1 on the cell: finely drawn, for the classifier; and the same
        with room around, for the gate of kinds, which learnt so.
    """
    x, y = centroid(cell)
    side = max(2, round(side_px))
    left, top = round(x - side / 2), round(y - side / 2)
    crop = resized(_square(field, left, top, side), size, size)
    crop = lamp.neutral(crop, (left, top, left + side, top + side))
    outline = outline_of(cell, left, top, side, WORK_SIDE_PX)
    # Enlarged from the small one: a fifth of the time that drawing it anew takes.
    room = cv2.resize(outline, (size, size), interpolation=cv2.INTER_LINEAR) > ROOM_LOGIT
    return crop, fine_mask(crop, outline), room.view(np.uint8)


def mask_of(cell: Cell, left: float, top: float, side: float, size: int, level: float = 0.0) -> Mask:
    """(size, size) uint8: 1 on the cell, in the square of the field at `left`, `top`; 0 elsewhere."""
    return (outline_of(cell, left, top, side, size) > level).view(np.uint8)


def outline_of(cell: Cell, left: float, top: float, side: float, size: int) -> Outline:
    """(size, size) float32: the cell's outline in the square of the field at `left`, `top`."""
    outline_left, outline_top, width, height = cell.outline_box
    rows, columns = cell.outline.shape
    across, down = width / columns * size / side, height / rows * size / side
    # Positions stand for their middles on both sides.
    x = (outline_left - left) * size / side + across / 2 - 0.5
    y = (outline_top - top) * size / side + down / 2 - 0.5
    matrix = np.array([[across, 0, x], [0, down, y]])
    return cv2.warpAffine(  # type: ignore[return-value]
        cell.outline,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float(NOTHING),
    )


def blackened(crop: Pixels, mask: Mask) -> Pixels:
    """The crop with all black but the cell."""
    return cv2.copyTo(crop, mask)  # type: ignore[return-value]


def _square(field: Pixels, left: int, top: int, side: int) -> Pixels:
    """A square of the field; beyond its border it is black."""
    height, width = field.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if (x0, y0, x1, y1) == (left, top, left + side, top + side):
        return field[y0:y1, x0:x1]
    square = np.zeros((side, side, 3), np.uint8)
    if x1 > x0 and y1 > y0:
        square[y0 - top : y1 - top, x0 - left : x1 - left] = field[y0:y1, x0:x1]
    return square
