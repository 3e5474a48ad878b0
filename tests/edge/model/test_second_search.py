"""A field in which nothing is found is searched again in the picture of the ruler: wide cells count, narrow ones do not."""

import numpy as np
import pytest

from edge.imaging.field import maps as m
from edge.imaging.field.cells import Maps
from edge.imaging.field.lamp import find_lamp
from edge.model.finder import SECOND_HEAT_LOGIT, CellFinder, Look
from edge.model.network import read_network, shipped_network

SIDE, RED_PX = 160, 20.0


@pytest.fixture(scope="module")
def finder() -> CellFinder:
    return CellFinder(read_network(shipped_network("cells"), "cells"))


def seen(width: float, heat: float) -> Maps:
    """A round cell in the middle of the picture of the ruler."""
    side = SIDE // m.CELL_STRIDE_PX
    said = np.full((side, side, m.CHANNELS), -6.0, np.float32)
    row, column = np.mgrid[0 : 2 * side, 0 : 2 * side] - side + 0.5
    inside = np.where(np.hypot(row, column) * m.MASK_STRIDE_PX < width / 2, 4.0, -6.0)
    said[..., : m.MASK[1]] = inside.reshape(side, 2, side, 2).transpose(0, 2, 1, 3).reshape(side, side, 4)
    said[side // 2, side // 2, m.HEAT] = heat
    said[..., m.SIZE[0] : m.SIZE[1]] = m.STEPS_AN_OCTAVE * np.log2(width / m.SIZE_BASE_PX)
    return said


@pytest.mark.parametrize(
    ("width", "heat", "count"),
    [(36, SECOND_HEAT_LOGIT + 0.3, 1), (20, SECOND_HEAT_LOGIT + 0.3, 0), (36, SECOND_HEAT_LOGIT - 0.3, 0)],
)
def test_what_only_the_ruler_saw(finder: CellFinder, width: float, heat: float, count: int) -> None:
    field = np.full((SIDE * 2, SIDE * 2, 3), 215, np.uint8)  # the network finds nothing in it
    look = Look(seen(width, heat), 0.5, 2 * RED_PX)
    cells = finder.find(field, find_lamp(field), look)
    assert len(cells) == count
    for cell in cells:
        assert np.allclose(cell.centre, SIDE, atol=4)
        assert cell.box[2] == pytest.approx(2 * width, abs=8)
