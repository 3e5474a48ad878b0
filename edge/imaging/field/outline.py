"""The outline of a cell, drawn finely: between what is surely cell and what is surely none its own colours decide.

The finder's outline has few pixels, and is too tight around pale cytoplasm and too wide beside red cells. So each pixel
in between is given to the nearer of two colours: that of the cell's own rim and that of what lies around, both the means
of what is near to that pixel.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.field.lamp import WHITE_LEVELS
from edge.imaging.frame import Pixels

Mask = npt.NDArray[np.uint8]
Outline = npt.NDArray[np.float32]

WORK_SIDE_PX = 64
"""The colours are compared in a crop of this side: fast, and twice as fine as the finder's outline."""

SURE_LOGIT, RIM_LOGITS = 2.0, 1.5
"""A cell's pixels have a higher logit and lie within the convex hull of these; their rim is what has at most so much
more."""

LOOSE_LOGIT = -2.5
"""Outside of the convex hull of what has a higher logit there is no pixel of the cell."""

OTHER_CELL_LOGIT = -4.0
"""Less is another cell's."""

NEAR_PX = 23
"""Side of the square whose mean colours a pixel is compared with, pixels of the small crop."""

OWN_SHARE = 0.3
"""A pixel is the cell's if its squared distance from the rim's colour, times this, is less than that from the colour
outside: cytoplasm is paler at its border."""

DARKEST_LEVEL = 4
SMOOTHED_PX = 7
BACKGROUND_LEVELS = round(0.86 * WHITE_LEVELS)
"""Green over it is background, where the field is neutral."""

_COUNTED = np.repeat(np.log(np.maximum(np.arange(256), DARKEST_LEVEL))[None, :, None], 4, 2).astype(
    np.float32
)
"""(1, 256, 4) float32: the logarithm of a level in three channels, 1 in the fourth: sums of it are counts."""
_COUNTED[..., 3] = 1
_SMOOTHING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SMOOTHED_PX, SMOOTHED_PX))
_RIM_PIXEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


def fine_mask(crop: Pixels, outline: Outline) -> Mask:
    """Where the cell is in a crop.

    Args:
        crop: (S, S, 3) uint8 RGB, even and neutral; black beyond the border of the field.
        outline: (64, 64) float32, the finder's logits for the same square.

    Returns:
        (S, S) uint8: 1 on the cell, convex; 0 elsewhere.
    """
    small = cv2.resize(crop, (WORK_SIDE_PX, WORK_SIDE_PX), interpolation=cv2.INTER_AREA)
    small_mask = _by_colours(small, outline).astype(np.float32)
    size = (crop.shape[1], crop.shape[0])
    full = _over(cv2.resize(small_mask, size, interpolation=cv2.INTER_LINEAR), 0.5)
    dark = _over(-cv2.extractChannel(crop, 1).astype(np.int16), -BACKGROUND_LEVELS)
    # A bright or ragged rim on black would be the first thing that the classifier sees.
    fine: Mask = cv2.erode(hull(full & dark), _RIM_PIXEL)  # type: ignore[assignment]
    return fine if fine.any() else full


def _by_colours(small: npt.NDArray[Any], outline: Outline) -> Mask:
    """Where the cell is in the small crop, frayed edges taken off."""
    own_side = _over(outline, OTHER_CELL_LOGIT)
    sure = hull(_over(outline, min(SURE_LOGIT, float(outline.max()) / 2))) & own_side
    loose = (hull(_over(outline, LOOSE_LOGIT)) & own_side) | sure
    rim = sure & ~_over(outline, SURE_LOGIT + RIM_LOGITS)
    outside = (1 - loose) & _over(small[..., 1], 0)
    between = np.flatnonzero(loose & ~sure)
    counted = cv2.LUT(cv2.cvtColor(small, cv2.COLOR_RGB2RGBA), _COUNTED)
    own = OWN_SHARE * _distances(counted, rim if rim.any() else sure, between)
    mask = sure.copy()
    mask.flat[between[_distances(counted, outside, between) > own]] = 1
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, _SMOOTHING)  # type: ignore[return-value]


def _over(values: npt.NDArray[Any], level: float) -> Mask:
    return (values > level).astype(np.uint8)


def _distances(
    counted: npt.NDArray[Any], zone: Mask, pixels: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """(N,) float32: the squared distance of N pixels from the mean colour of the zone near to each.

    Args:
        counted: (64, 64, 4) float32, three channels and 1.
        zone: (64, 64) uint8.
        pixels: (N,) their places in the flat picture.
    """
    sums = cv2.boxFilter(
        cv2.copyTo(counted, zone),
        -1,
        (NEAR_PX, NEAR_PX),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    near = sums.reshape(-1, 4).take(pixels, axis=0)
    away = counted.reshape(-1, 4).take(pixels, axis=0) - near / np.maximum(near[:, 3:], 0.5)
    return np.einsum("ik,ik->i", away[:, :3], away[:, :3])  # type: ignore[no-any-return]


def largest(mask: Mask) -> Mask:
    """Its largest piece, holes filled."""
    return _drawn(mask, convex=False)


def hull(mask: Mask) -> Mask:
    """The convex hull of its largest piece."""
    return _drawn(mask, convex=True)


def _drawn(mask: Mask, convex: bool) -> Mask:
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    if outlines:
        widest = max(outlines, key=cv2.contourArea)
        cv2.drawContours(filled, [cv2.convexHull(widest) if convex else widest], -1, 1, cv2.FILLED)
    return filled
