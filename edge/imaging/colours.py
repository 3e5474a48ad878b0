"""Colour figures of a cut-out cell as the camera shows it, and a tone for each channel that makes another stain like the
one that a model was trained on.

A dye that is denser by a factor takes the logarithm of the light times that factor (Beer and Lambert): so the spread of a
channel's logarithm within the cell tells the strength of the stain whatever the lamp, and an exponent on the channel
brings it back.
"""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.balance import BACKGROUND_LEVELS
from edge.imaging.frame import Pixels
from edge.imaging.quality import halved

FIGURES = (
    "red against green",
    "blue against green",
    "level",
    "spread of red",
    "spread of green",
    "spread of blue",
)
"""Differences and mean of the channels' mean logarithms; then the logarithm of each channel's spread (standard deviation
of its logarithm) within the cell."""

SPREADS = slice(3, 6)
"""The last three of the figures."""

TONES = (0.4, 2.5)
"""Exponents beyond these are no stain."""

Colours = npt.NDArray[np.float32]
"""(6,), see FIGURES."""

_LEAST_PIXELS = 20
_LEAST_SPREAD = 1e-3
_LOGARITHMS = np.log(np.maximum(np.arange(256), 2) / 255).astype(np.float32)
_BLACK, _BACKGROUND = (0, 0, 0), (BACKGROUND_LEVELS,) * 3
_AROUND = np.ones((3, 3), np.uint8)


def colours(half: Pixels) -> Colours | None:
    """The figures of a cell.

    Args:
        half: `edge.imaging.quality.halved` of the crop; it is halved once more, so that a camera's noise counts little.

    Returns:
        (6,) float32, see FIGURES; None where there is no cell.
    """
    quarter = halved(half)
    cell = cv2.bitwise_not(cv2.inRange(quarter, _BLACK, _BACKGROUND))
    # Pixels at the cell's border are mixed with the black around it.
    cell = cv2.erode(cell, _AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if cv2.countNonZero(cell) < _LEAST_PIXELS:
        return None
    means, spreads = cv2.meanStdDev(cv2.LUT(quarter, _LOGARITHMS), mask=cell)
    red, green, blue = means.ravel().tolist()  # of so few numbers plain Python takes a third of numpy's time
    depths = [math.log(max(spread, _LEAST_SPREAD)) for spread in spreads.ravel().tolist()]
    return np.array((red - green, blue - green, (red + green + blue) / 3, *depths), np.float32)


def tone_of(trained: Sequence[float], shown: Sequence[float]) -> tuple[float, float, float]:
    """The exponents that give the cells of a camera the spread of those of a training.

    Args:
        trained, shown: the mean of the figures over the cells of each, 6.
    """
    found = np.exp(np.asarray(trained)[SPREADS] - np.asarray(shown)[SPREADS])
    red, green, blue = (round(float(value), 4) for value in np.clip(found, *TONES))
    return red, green, blue


def tone_table(exponents: Sequence[float]) -> npt.NDArray[np.uint8]:
    """(1, 256, 3) uint8, for `toned`: 255 · (level / 255) to the exponent of each channel, red first."""
    light = np.arange(256)[:, np.newaxis] / 255
    levels: npt.NDArray[np.uint8] = np.rint(255 * light ** np.asarray(exponents))[np.newaxis].astype(np.uint8)
    return levels


def toned(crop: Pixels, table: npt.NDArray[np.uint8], out: Any = None) -> Pixels:
    """The crop with another tone of each channel; `out` may be `crop`."""
    return cv2.LUT(crop, table, dst=out)  # type: ignore[return-value]
