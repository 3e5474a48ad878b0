"""A single cell pasted on a field, where the truth is then known."""

import cv2
import numpy as np

from edge.imaging.field.lamp import find_lamp
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from train.fields.labelled import Box, Listed, red_px

SETS = ("smears", "pbc", "raabin")
"""Whose red cells have boxes."""

MIN_RED_PX = 40.0
"""Narrower ones would leave the cell too few pixels."""


def on_field(
    cell: Pixels, listed: Listed, model_red_px: float, mode: str, random: np.random.Generator
) -> tuple[Pixels, Box] | None:
    """Paste a cell at a random place of a field, away from the field's white cells.

    Args:
        cell: (H, W, 3) uint8 RGB on black, at the scale of C-NMC.
        listed: the field.
        model_red_px: width of a red cell at the cell's scale; it is pasted at the scale of the field's red cells.
        mode: "lamp" to put it under the field's lamp, "raw" for its own pixels as they are.
        random: chooses the place.

    Returns:
        The field with the cell and the cell's box; None if it does not fit there, or the field's red cells are too
        narrow.
    """
    field = read_image(listed.file)
    height, width = field.shape[:2]
    red = red_px(listed, width, height)
    if red < MIN_RED_PX:
        return None
    factor = red / model_red_px
    mask = (cell.max(axis=2) > 0).astype(np.uint8)
    left, top, across, down = cv2.boundingRect(mask)
    size = (round(across * factor), round(down * factor))
    if size[0] + 6 > width or size[1] + 6 > height:
        return None
    part = np.s_[top : top + down, left : left + across]
    flags = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = cv2.resize(cell[part], size, interpolation=flags)
    inside = cv2.resize(mask[part].astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
    x, y = int(random.integers(3, width - size[0] - 2)), int(random.integers(3, height - size[1] - 2))
    box = (float(x), float(y), float(x + size[0]), float(y + size[1]))
    if any(_overlap(box, other) for other in listed.white):
        return None
    place = np.s_[y : y + size[1], x : x + size[0]]
    colours = small.astype(np.float32)
    if mode == "lamp":
        colours /= cv2.resize(find_lamp(field).gain(*box), size)
    picture = field.copy()
    picture[place][inside] = np.clip(colours, 0, 255).astype(np.uint8)[inside]
    return picture, box


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
