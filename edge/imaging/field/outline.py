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
"""Where the logit is less there is no pixel of the cell, but for those of that hull."""

OTHER_CELL_LOGIT = -4.0
"""Less is another cell's."""

BLOCKS, NEAR_BLOCKS = 16, 7
"""The mean colours are those of a square of so many blocks around the pixel's own; the small crop has 16 x 16 blocks."""

OWN_SHARE = 0.15
"""A pixel is the cell's if its squared distance from the rim's colour, times this, is less than that from the colour
outside: cytoplasm is paler at its border."""

DARKEST_LEVEL = 4
SMOOTHED_PX = 7
BACKGROUND_LEVELS, RIM_LEVELS = round(0.86 * WHITE_LEVELS), round(0.82 * WHITE_LEVELS)
"""Green from here on is background, where the field is neutral: in the small crop, and in the rim of the mask itself."""

CORE_PART = 0.88
"""What lies within the outline, shrunk by this factor, is no rim: bright pixels there are the cell's."""

_SHIFT = 4
"""Polygons are drawn with so many binary places after the point."""

_LOGARITHMS = np.log(np.maximum(np.arange(256), DARKEST_LEVEL)).astype(np.float32)
_ONES = np.ones(4, np.float32)
_PLACES = np.arange(WORK_SIDE_PX) * BLOCKS // WORK_SIDE_PX
_BLOCK_OF = (_PLACES[:, None] * BLOCKS + _PLACES).ravel()
"""(64 * 64,): the block of each pixel of the small crop."""
_SMOOTHING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SMOOTHED_PX, SMOOTHED_PX))


def fine_mask(crop: Pixels, outline: Outline) -> Mask:
    """Where the cell is in a crop.

    Args:
        crop: (S, S, 3) uint8 RGB, even and neutral; black beyond the border of the field.
        outline: (64, 64) float32, the finder's logits for the same square.

    Returns:
        (S, S) uint8: 1 on the cell, convex but for bright pixels of its rim; 0 elsewhere.
    """
    small = cv2.resize(crop, (WORK_SIDE_PX, WORK_SIDE_PX), interpolation=cv2.INTER_AREA)
    green = cv2.extractChannel(small, 1)
    mask = _by_colours(small, green, outline)
    dark = _under(green, BACKGROUND_LEVELS)
    dark &= mask
    size = crop.shape[0]
    fine = np.zeros((size, size), np.uint8)
    is_any_dark = cv2.countNonZero(dark) > 0
    widest = _widest(dark if is_any_dark else mask)
    if widest is None:
        return fine
    # The hull of the middles of its pixels, enlarged.
    factor = (1 << _SHIFT) * size / WORK_SIDE_PX
    corners = cv2.convexHull(widest) * factor + (factor - (1 << _SHIFT)) / 2
    cv2.fillPoly(fine, [corners.astype(np.int32)], 1, shift=_SHIFT)
    if not is_any_dark:
        return fine
    # A bright rim on black would be the first thing that the classifier sees.
    kept = _under(cv2.extractChannel(crop, 1), RIM_LEVELS)
    core = corners * CORE_PART + (1 - CORE_PART) / 2 * (size << _SHIFT)  # the cell is in the middle
    cv2.fillPoly(kept, [core.astype(np.int32)], 1, shift=_SHIFT)
    fine &= kept
    return fine


def _by_colours(small: npt.NDArray[Any], green: npt.NDArray[Any], outline: Outline) -> Mask:
    """Where the cell is in the small crop, frayed edges taken off."""
    own_side = _over(outline, OTHER_CELL_LOGIT)
    sure = hull(_over(outline, min(SURE_LOGIT, float(outline.max()) / 2)))
    sure &= own_side
    loose = _over(outline, LOOSE_LOGIT)
    loose &= own_side
    loose |= sure
    rim = sure & ~_over(outline, SURE_LOGIT + RIM_LOGITS)
    outside = cv2.copyTo(green, 1 - loose)  # 0 as well where the field ends
    between = np.flatnonzero(loose > sure)
    # The fourth channel is the same everywhere: sums of it are counts.
    logarithms = cv2.LUT(cv2.cvtColor(small, cv2.COLOR_RGB2RGBA), _LOGARITHMS)
    colours = logarithms.reshape(-1, 4).take(between, axis=0)
    blocks = _BLOCK_OF.take(between)
    own = _distances(logarithms, rim if cv2.countNonZero(rim) else sure, blocks, colours)
    own *= OWN_SHARE
    sure.reshape(-1)[between] = _distances(logarithms, outside, blocks, colours) > own
    return cv2.morphologyEx(sure, cv2.MORPH_OPEN, _SMOOTHING)  # type: ignore[return-value]


def _over(values: npt.NDArray[Any], level: float) -> Mask:
    return (values > level).view(np.uint8)


def _under(levels: npt.NDArray[Any], level: int) -> Mask:
    return cv2.threshold(levels, level - 1, 1, cv2.THRESH_BINARY_INV)[1]  # type: ignore[return-value]


def _distances(
    logarithms: npt.NDArray[Any],
    zone: npt.NDArray[Any],
    blocks: npt.NDArray[np.intp],
    colours: npt.NDArray[Any],
) -> npt.NDArray[np.float32]:
    """(N,) float32: the squared distance of N pixels from the mean colour of the zone near to each.

    Args:
        logarithms: (64, 64, 4) float32, of three channels and of 255.
        zone: (64, 64) uint8, not 0 within.
        blocks: (N,) the pixels' blocks.
        colours: (N, 4) float32, theirs.
    """
    sums = cv2.copyTo(logarithms, zone)
    for side in (WORK_SIDE_PX // 2, BLOCKS):  # halved twice: faster than at once
        sums = cv2.resize(sums, (side, side), interpolation=cv2.INTER_AREA)
    near = (NEAR_BLOCKS, NEAR_BLOCKS)
    sums = cv2.boxFilter(sums, -1, near, normalize=False, borderType=cv2.BORDER_CONSTANT)
    means = sums * (_LOGARITHMS[255] / np.maximum(sums[..., 3:], np.float32(1e-3)))
    away = means.reshape(-1, 4).take(blocks, axis=0)
    away -= colours
    away *= away
    return away @ _ONES  # type: ignore[no-any-return]


def largest(mask: Mask) -> Mask:
    """Its largest piece, holes filled."""
    return _drawn(mask, convex=False)


def hull(mask: Mask) -> Mask:
    """The convex hull of its largest piece."""
    return _drawn(mask, convex=True)


def _drawn(mask: Mask, convex: bool) -> Mask:
    filled = np.zeros(mask.shape, np.uint8)
    widest = _widest(mask)
    if widest is not None:
        cv2.fillPoly(filled, [cv2.convexHull(widest) if convex else widest], 1)
    return filled


def _widest(mask: Mask) -> npt.NDArray[Any] | None:
    """(n, 1, 2) int32: the outline of the largest piece; None if there is none."""
    outlines, _ = cv2.findContoursLinkRuns(mask)
    if len(outlines) < 2:
        return outlines[0] if outlines else None
    return max(outlines, key=cv2.contourArea)
