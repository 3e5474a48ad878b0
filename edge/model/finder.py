"""The cell finder at work: which size a field is shown at, and what is found in it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.imaging.cells import HEAT_LOGIT, Cell, Maps, find_cells, red_cell_px
from edge.imaging.frame import Pixels
from edge.imaging.lamp import WHITE_LEVELS, Lamp
from edge.imaging.maps import CELL_STRIDE_PX, SIDE_MULTIPLE_PX
from edge.imaging.resize import resized
from edge.model.network import Network, NetworkFile

FIRST_SIDE_PX = 192
"""Before anything is known of a field's scale, its longer side is shown so long."""

RULER_RED_PX = 11.0
"""Width of red cells in the picture that the ruler is read from: there the network sees many of them at once."""

RULER_RANGE_PX = (9.8, 12.3)
"""If a look finds them outside of it, another one is taken at a better scale."""

UNDERSTATED = 2.2
"""By so much the network understates how far a picture is off the right scale: red cells of 8 px it calls 9.4, those of
11 px 11.0, those of 14 px 12.0 (logarithms, medians of three sets)."""

STEP = 1.0
"""A look goes by this power of what the last one said to the next: farther than it said, not so far as to overshoot."""

LOOKS = 6

FIND_RED_PX = 15.0
"""Width of red cells in the picture that white cells are looked for in: in a larger one lobed nuclei are taken for two
cells, in a smaller one platelets for cells."""

OUTLINE_RED_PX = 22.0
"""Width of red cells in the picture that the cells found are outlined in."""

MAX_SIDE_PX = 1280
MAX_ENLARGED = 1.7
RIM_LEVELS = 70
"""Green under it, where the picture is neutral, is the black rim of an eyepiece; no red cell tells its scale there."""


@dataclass(frozen=True, slots=True)
class Found:
    """The white cells of a field, and the width of its red cells in its own pixels."""

    cells: list[Cell]
    red_px: float


class CellFinder:
    """Finds white cells by the network; not for use by several threads at once.

    Raises:
        InputError: the network does not load.
        LeukoscopeError: no interpreter is installed.
    """

    def __init__(self, file: NetworkFile, threads: int = 1):
        # One for each of the three sizes that a field is shown at: a change of size costs some milliseconds.
        self._ruler, self._network, self._outlines = (Network(file, threads) for _ in range(3))
        self._threshold = file.manifest.thresholds.get("heat_logit", HEAT_LOGIT)

    def find(self, field: Pixels, lamp: Lamp, red_px: float = 0.0) -> Found:
        """Every white cell of a field.

        Args:
            field: (H, W, 3) uint8 RGB.
            lamp: of this field.
            red_px: width of a red cell, pixels of the field; 0 to measure it first.
        """
        red_px = red_px or self.red_px(field, lamp)
        scale = _within(field, FIND_RED_PX / red_px)
        maps, _, width, height = self._look(self._network, field, lamp, scale)
        large = _within(field, OUTLINE_RED_PX / red_px)
        finer = (self._look(self._outlines, field, lamp, large)[0], large) if large > scale else None
        return Found(find_cells(maps, width, height, scale, red_px * scale, self._threshold, finer), red_px)

    def red_px(self, field: Pixels, lamp: Lamp, about_px: float = 0.0) -> float:
        """Width of the red cells of a field, pixels of the field.

        Args:
            about_px: what it was in the fields before; 0 if there were none.
        """
        scale = _within(field, RULER_RED_PX / about_px if about_px else FIRST_SIDE_PX / max(field.shape[:2]))
        for _ in range(LOOKS):
            maps, lit, _, _ = self._look(self._ruler, field, lamp, scale)
            red = red_cell_px(maps, lit)
            better = _within(field, float(scale * (RULER_RED_PX / red) ** STEP))
            if RULER_RANGE_PX[0] <= red <= RULER_RANGE_PX[1] or abs(np.log2(better / scale)) < 0.05:
                break
            scale = better
        return float(RULER_RED_PX / scale * (red / RULER_RED_PX) ** UNDERSTATED)

    def _look(
        self, network: Network, field: Pixels, lamp: Lamp, scale: float
    ) -> tuple[Maps, npt.NDArray[np.bool_], int, int]:
        """The network's output for the field at a scale, where the field is lit, and its width and height there."""
        picture, width, height = self._picture(field, lamp, scale)
        maps = network.run(picture[None])[0]
        s = CELL_STRIDE_PX
        lit = picture[s // 2 :: s, s // 2 :: s, 1] > RIM_LEVELS
        lit[-(-height // s) :] = False
        lit[:, -(-width // s) :] = False
        return maps, lit, width, height

    def _picture(self, field: Pixels, lamp: Lamp, scale: float) -> tuple[Pixels, int, int]:
        """The field at a scale, neutral, padded with white to the sides that the network takes; its own size."""
        width, height = (max(8, round(side * scale)) for side in (field.shape[1], field.shape[0]))
        small = resized(field, width, height)
        m = SIDE_MULTIPLE_PX
        canvas = np.full((-(-height // m) * m, -(-width // m) * m, 3), round(WHITE_LEVELS), np.uint8)
        canvas[:height, :width] = lamp.neutral(small)
        return canvas, width, height


def _within(field: Pixels, scale: float) -> float:
    """The scale, but no picture larger than the network can be shown, and none enlarged beyond what is in it."""
    return float(min(scale, MAX_SIDE_PX / max(field.shape[:2]), MAX_ENLARGED))
