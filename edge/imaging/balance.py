"""Light and white balance of a cut-out cell: each channel scaled, so that the cell's mean colour is always the same.

A lamp or a white balance that is off multiplies the channels; after this it makes no difference to the network. The
differences of colour within the cell, which it lives on, stay.
"""

from collections.abc import Sequence
from typing import Annotated

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge.imaging.frame import Pixels

Level = Annotated[int, msgspec.Meta(ge=1, le=254)]

CellMean = tuple[Level, Level, Level]
"""Red, green and blue, 8-bit levels."""

BACKGROUND_LEVELS = 40
"""A pixel none of whose channels is above this is the black around the cell, with the noise of a camera in it: noise
of sigma 10 stays under it, and the darkest nuclei of C-NMC are above it."""

_LEVELS = np.arange(256, dtype=np.float64)[:, np.newaxis]


def balance_table(crop: Pixels, cell_mean: Sequence[int]) -> Pixels:
    """The look-up table that gives the cell its mean colour.

    Args:
        crop: (S, S, 3) uint8 RGB, a cell on black.
        cell_mean: see `CellMean`.

    Returns:
        (256, 3) uint8, a column for each channel; it changes nothing where there is no cell.
    """
    background = cv2.inRange(crop, (0, 0, 0), (BACKGROUND_LEVELS,) * 3)
    mean = np.array(cv2.mean(crop, cv2.bitwise_not(background))[:3])
    factors = np.where(mean > 0, np.array(cell_mean) / np.maximum(mean, 1.0), 1.0)
    return np.minimum(np.rint(_LEVELS * factors), 255).astype(np.uint8)


def balanced(crop: Pixels, cell_mean: Sequence[int] | None) -> Pixels:
    """The crop with that mean colour of its cell; as it is without one.

    Args:
        crop: (S, S, 3) uint8 RGB, a cell on black.
        cell_mean: see `CellMean`.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    return crop if cell_mean is None else looked_up(crop, balance_table(crop, cell_mean))


def looked_up(crop: Pixels, table: npt.NDArray[np.uint8], out: Pixels | None = None) -> Pixels:
    """Each channel through its column of a (256, 3) uint8 table; into `out` where it is given, which may be `crop`."""
    return cv2.LUT(crop, table[np.newaxis], dst=out)  # type: ignore[return-value]
