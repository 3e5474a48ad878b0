"""The cell finder at work: which size a field is shown at, and what is found in it."""

from dataclasses import dataclass

import cv2
import numpy as np

from edge.imaging.cells import HEAT_LOGIT, Cell, find_cells, red_cell_px
from edge.imaging.frame import Pixels
from edge.imaging.lamp import WHITE_LEVELS, Lamp
from edge.imaging.maps import CELL_STRIDE_PX, SIDE_MULTIPLE_PX
from edge.model.network import Network

FIRST_SIDE_PX = 192
"""Before anything is known of a field's scale, its longer side is shown so long."""

RED_PX = 15.0
"""Width of red cells in the finder's picture for which it was trained most."""

RED_RANGE_PX = (10.0, 24.0)
"""Where the first look finds them outside of it, a second one is taken at the right scale."""

MAX_SIDE_PX = 1280
MAX_ENLARGED = 1.7
RIM_LEVELS = 70
"""Green under it, where the picture is neutral, is the black rim of an eyepiece; no red cell tells its scale there."""

LOOKS = 3


@dataclass(frozen=True, slots=True)
class Found:
    """The white cells of a field, and the width of its red cells in its own pixels."""

    cells: list[Cell]
    red_px: float


class CellFinder:
    """Finds white cells by the network; not for use by several threads at once."""

    def __init__(self, network: Network):
        self._network = network
        self._threshold = network.manifest.thresholds.get("heat_logit", HEAT_LOGIT)

    def find(self, field: Pixels, lamp: Lamp, red_px: float = 0.0) -> Found:
        """Every white cell of a field.

        Args:
            field: (H, W, 3) uint8 RGB.
            lamp: of this field.
            red_px: width of a red cell, pixels of the field, where it is known; else 0, and a first look tells.
        """
        longer = max(field.shape[:2])
        largest = min(MAX_SIDE_PX / longer, MAX_ENLARGED)
        scale = min(RED_PX / red_px if red_px else FIRST_SIDE_PX / longer, largest)
        for look in range(LOOKS):
            picture, width, height = self._picture(field, lamp, scale)
            maps = self._network.run(picture[None])[0]
            lit = picture[CELL_STRIDE_PX // 2 :: CELL_STRIDE_PX, CELL_STRIDE_PX // 2 :: CELL_STRIDE_PX, 1] > RIM_LEVELS
            lit[-(-height // CELL_STRIDE_PX) :] = lit[:, -(-width // CELL_STRIDE_PX) :] = False
            red = red_cell_px(maps, lit)
            better = min(scale * RED_PX / red, largest)
            if RED_RANGE_PX[0] <= red <= RED_RANGE_PX[1] or abs(np.log2(better / scale)) < 0.2 or look == LOOKS - 1:
                break
            scale = better
        return Found(find_cells(maps, width, height, scale, red, self._threshold), red / scale)

    def _picture(self, field: Pixels, lamp: Lamp, scale: float) -> tuple[Pixels, int, int]:
        """The field at a scale, neutral, padded with white to the sides that the network takes; its own size."""
        width, height = (max(8, round(side * scale)) for side in (field.shape[1], field.shape[0]))
        small = field
        step = int(0.5 / scale)
        if step > 1:
            small = field[::step, ::step]
        flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = cv2.resize(small, (width, height), interpolation=flags)  # type: ignore[assignment]
        m = SIDE_MULTIPLE_PX
        canvas = np.full((-(-height // m) * m, -(-width // m) * m, 3), round(WHITE_LEVELS), np.uint8)
        canvas[:height, :width] = lamp.neutral(small)
        return canvas, width, height
