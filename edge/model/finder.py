"""The cell finder at work: which size a field is shown at, and what is found in it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.imaging.field.cells import (
    COARSE_HEAT_LOGIT,
    COARSE_RED_PX,
    HEAT_LOGIT,
    Cell,
    Maps,
    find_cells,
    red_cell_px,
)
from edge.imaging.field.lamp import WHITE_LEVELS, Lamp
from edge.imaging.field.maps import CELL_STRIDE_PX, SIDE_MULTIPLE_PX
from edge.imaging.field.resize import Halves, resized
from edge.imaging.frame import Pixels
from edge.model.network import Network, NetworkFile

FIRST_SIDE_PX = 416
"""Before anything is known of a field's scale, its longer side is shown so long."""

RULER_RED_PX, RULER_READS_PX = 20.0, 17.5
"""Width of red cells in the picture that the ruler is read from and the cells are outlined in; and what the network
reads there, the median of three sets: it was trained most on smaller ones, and understates these."""

RULER_SLOPE = 1.05
"""How what it reads grows with the true width there (logarithms)."""

RULER_RANGE_PX = (15.5, 20.0)
"""If a look reads a width outside of it, another one is taken at a better scale."""

LOOKS = 5

FIND_RED_PX = 16.0
"""Width of red cells in the picture that white cells are looked for in: in a larger one lobed nuclei are taken for two
cells, in a smaller one platelets for cells."""

SECOND_HEAT_LOGIT, SECOND_WIDTH_IN_REDS = 0.2, 1.1
"""A field in which nothing is found at that scale is searched again in the picture of the ruler, where pale cells stand
out more; so that grains of stain and platelets do not, more is asked of a centre (a probability of 0.55) and of a cell's
width and height (in widths of a red cell)."""

MAX_SIDE_PX = 1280
COARSE_ENLARGED, MAX_ENLARGED = 1.4, 1.7
"""A coarse field is enlarged at least so much: its ruler may be half as long again as it should be."""

RIM_LEVELS = 70
"""Green under it, where the picture is neutral, is the black rim of an eyepiece; no red cell tells its scale there."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the network says of a field at the scale of the ruler: it tells the red cells and outlines the white ones.

    Attributes:
        maps: its output.
        scale: pixels of the network's picture for one of the field.
        red_px: width of a red cell, pixels of the field.
    """

    maps: Maps
    scale: float
    red_px: float


class CellFinder:
    """Finds white cells by the network; not for use by several threads at once.

    Raises:
        InputError: the network does not load.
        LeukoscopeError: no interpreter is installed.
    """

    def __init__(self, file: NetworkFile, threads: int = 1):
        # One for each of the two sizes that a field is shown at: a change of size costs some milliseconds.
        self._ruler, self._network = Network(file, threads), Network(file, threads)

    def look(self, field: Pixels | Halves, lamp: Lamp, about_px: float = 0.0) -> Look:
        """How large the red cells of a field are.

        Args:
            field: (H, W, 3) uint8 RGB, or with its halves.
            lamp: of this field.
            about_px: width of the red cells in the fields before, pixels of the field; 0 if there were none.
        """
        scale = _within(field, RULER_RED_PX / about_px if about_px else FIRST_SIDE_PX / max(field.shape[:2]))
        for _ in range(LOOKS):
            maps, lit, _, _ = self._look(self._ruler, field, lamp, scale)
            reads = red_cell_px(maps, lit)
            better = _within(field, scale * RULER_READS_PX / reads)
            if RULER_RANGE_PX[0] <= reads <= RULER_RANGE_PX[1] or abs(np.log2(better / scale)) < 0.05:
                break
            scale = better
        red = RULER_RED_PX * (reads / RULER_READS_PX) ** (1 / RULER_SLOPE)
        return Look(maps, scale, float(red / scale))

    def find(self, field: Pixels | Halves, lamp: Lamp, look: Look, red_px: float = 0.0) -> list[Cell]:
        """Every white cell of a field, the surest first.

        Args:
            field: (H, W, 3) uint8 RGB, or with its halves.
            lamp: of this field.
            look: at this field.
            red_px: width of a red cell, pixels of the field, if it is known better than by this look.
        """
        red_px = red_px or look.red_px
        coarse = red_px < COARSE_RED_PX
        scale = _within(field, max(FIND_RED_PX / red_px, COARSE_ENLARGED if coarse else 0.0))
        maps, _, width, height = self._look(self._network, field, lamp, scale)
        finer = (look.maps, look.scale) if look.scale > scale else None
        threshold = COARSE_HEAT_LOGIT if coarse else HEAT_LOGIT
        cells = find_cells(maps, width, height, scale, red_px * scale, threshold, finer)
        if cells or finer is None:
            return cells
        width, height = (max(8, round(side * look.scale)) for side in (field.shape[1], field.shape[0]))
        cells = find_cells(look.maps, width, height, look.scale, red_px * look.scale, SECOND_HEAT_LOGIT)
        return [cell for cell in cells if min(cell.box[2:]) >= SECOND_WIDTH_IN_REDS * red_px]

    def _look(
        self, network: Network, field: Pixels | Halves, lamp: Lamp, scale: float
    ) -> tuple[Maps, npt.NDArray[np.bool_], int, int]:
        """The network's output for the field at a scale, where the field is lit, and its width and height there."""
        picture, width, height = self._picture(field, lamp, scale)
        maps = network.run(picture[None])[0]
        s = CELL_STRIDE_PX
        lit = picture[s // 2 :: s, s // 2 :: s, 1] > RIM_LEVELS
        lit[-(-height // s) :] = False
        lit[:, -(-width // s) :] = False
        return maps, lit, width, height

    def _picture(self, field: Pixels | Halves, lamp: Lamp, scale: float) -> tuple[Pixels, int, int]:
        """The field at a scale, neutral, padded with white to the sides that the network takes; its own size."""
        width, height = (max(8, round(side * scale)) for side in (field.shape[1], field.shape[0]))
        small = resized(field, width, height)
        m = SIDE_MULTIPLE_PX
        canvas = np.full((-(-height // m) * m, -(-width // m) * m, 3), round(WHITE_LEVELS), np.uint8)
        canvas[:height, :width] = lamp.neutral(small)
        return canvas, width, height


def _within(field: Pixels | Halves, scale: float) -> float:
    """The scale, but no picture larger than the network can be shown, and none enlarged beyond what is in it."""
    return float(min(scale, MAX_SIDE_PX / max(field.shape[:2]), MAX_ENLARGED))
