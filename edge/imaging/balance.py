"""Light and white balance of a cut-out cell: each channel scaled, so that the cell's mean colour is always the same.

A lamp or a white balance that is off multiplies the channels; after this it makes no difference to the network. The
differences of colour within the cell, which it lives on, stay.
"""

from typing import Annotated

import cv2
import msgspec
import numpy as np

from edge.imaging.frame import Pixels
from edge.imaging.quality import halved

Level = Annotated[int, msgspec.Meta(ge=1, le=254)]

CellMean = tuple[Level, Level, Level]
"""Red, green and blue, 8-bit levels."""

BACKGROUND_LEVELS = 40
"""A pixel none of whose channels is above this is the black around the cell, with the noise of a camera in it: noise
of sigma 10 stays under it, and the darkest nuclei of C-NMC are above it."""


def balanced(
    crop: Pixels, cell_mean: CellMean | None, out: Pixels | None = None, half: Pixels | None = None
) -> Pixels:
    """The crop with that mean colour of its cell; as it is without one, or where there is no cell.

    Args:
        crop: (S, S, 3) uint8 RGB, a cell on black.
        cell_mean: see `CellMean`.
        out: (S, S, 3) uint8 to write into, where given; may be `crop`.
        half: `edge.imaging.quality.halved(crop)`, where the caller has it.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    if cell_mean is None:
        return crop
    # On half the side this takes a third of the time, and the mean is the same within a hundredth.
    half = halved(crop) if half is None else half
    bright = cv2.threshold(half, BACKGROUND_LEVELS, 255, cv2.THRESH_BINARY)[1]
    # Not 0 where any channel is bright: `cv2.inRange` and `cv2.bitwise_not` take twice as long.
    cell = cv2.cvtColor(bright, cv2.COLOR_RGB2GRAY)
    factors = np.zeros((3, 3))
    for channel, (wanted, mean) in enumerate(zip(cell_mean, cv2.mean(half, cell), strict=False)):
        factors[channel, channel] = wanted / mean if mean else 1.0
    return cv2.transform(crop, factors, dst=out)  # type: ignore[return-value]
