"""Holes in pictures whose format has no checksum: a piece of the file that was overwritten.

A power cut or a bad sector leaves 512 or more bytes of one value, or what another file held there. In a raster
of pixels the first is a run of black or white pixels that begins and ends in the middle of what the picture
shows, with a straight edge above and below; the second is noise within a smooth picture. The limits come from
all 3,715 C-NMC cells at hand, whose black background has natural edges.
"""

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.frame import Pixels

SHORTEST_HOLE_PX = 128
"""A sector of 512 bytes holds 170 RGB pixels."""

JUMP_LEVELS = 40
"""Minimum step at the edge of a hole, levels; a background that fades out has no such step."""

LEAST_EDGE_PX = 16
"""Minimum length of both edges of a hole within the picture: in C-NMC no run has more than 7 px on both."""

NOISE_LEVELS, SMOOTH_LEVELS = 40, 15
"""Mean difference between a pixel and the next, over `SHORTEST_HOLE_PX`: compressed or encrypted data that lies in
the place of pixels has 85; half of the windows of a picture have less than the second. In C-NMC no window has
more than 23."""

FRAMED = 0.9
"""Share of the rows that begin and end at the same column if the picture is a rectangle within a frame."""

LEAST_CUT_PX, LEAST_CUT_PART = 32, 0.5
"""A hole that reaches the first or the last pixel has one edge: its minimum length, and minimum part of the widest
row of the picture's content. In C-NMC 3 cells have that, and they are really cut off by a straight line."""


def hole(pixels: Pixels) -> str:
    """What is wrong with a picture that has a hole in the order of its raster, or "".

    Args:
        pixels: (H, W, 3) uint8, its rows in the order of the file, not cut.
    """
    if pixels.shape[0] < 2 or pixels.size // 3 < SHORTEST_HOLE_PX:
        return ""
    if _has_noise(pixels):
        return "a part of it is noise, as if a part of the file was overwritten"
    for level in (0, 255):
        flat = cv2.inRange(pixels, (level,) * 3, (level,) * 3).astype(bool)
        if np.count_nonzero(flat) >= SHORTEST_HOLE_PX and (edge_px := _edge_px(pixels, flat)):
            return (
                f"{'black' if level == 0 else 'white'} pixels begin or end at a straight edge of {edge_px} px, as "
                "if a part of the file is missing"
            )
    return ""


def _has_noise(pixels: Pixels) -> bool:
    raster = pixels.reshape(1, -1, 3)
    steps = cv2.absdiff(raster[:, 1:], raster[:, :-1])
    windows = cv2.resize(steps, (steps.shape[1] // (SHORTEST_HOLE_PX // 2), 1), interpolation=cv2.INTER_AREA)
    roughness = windows.mean(axis=2)[0]
    return bool(roughness.max() >= NOISE_LEVELS and np.median(roughness) <= SMOOTH_LEVELS)


def _edge_px(pixels: Pixels, flat: npt.NDArray[np.bool_]) -> int:
    """Length of the straight edge of the first hole; 0 if there is none.

    Args:
        flat: (H, W): the pixels of one extreme level.
    """
    width, count = flat.shape[1], flat.size
    steps = np.diff(np.concatenate(([False], flat.ravel(), [False])).view(np.int8))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    long = ends - starts >= SHORTEST_HOLE_PX
    starts, ends = starts[long], ends[long]
    if not len(starts):
        return 0
    jump = cv2.absdiff(pixels[1:], pixels[:-1]).max(axis=2) >= JUMP_LEVELS
    none = np.zeros(width, bool)
    above = _cumulated(np.concatenate((none, (jump & ~flat[:-1]).ravel())))
    below = _cumulated(np.concatenate(((jump & ~flat[1:]).ravel(), none)))
    top = above[np.minimum(starts + width, ends)] - above[starts]
    bottom = below[ends] - below[np.maximum(ends - width, starts)]
    inner = np.minimum(top, bottom)
    if inner.max() >= LEAST_EDGE_PX:
        return int(inner.max())
    # What surrounds a picture as a frame is no hole: it ends and begins where the picture's sides are.
    left, right = _frame_px(flat)
    outer = max(
        int(bottom[0]) if starts[0] == 0 and ends[0] % width not in (0, left) else 0,
        int(top[-1]) if ends[-1] == count and starts[-1] % width not in (0, width - right) else 0,
    )
    widest = int(np.count_nonzero(~flat, axis=1).max())
    return outer if outer >= max(LEAST_CUT_PX, LEAST_CUT_PART * widest) else 0


def _frame_px(flat: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Left and right width of the frame if the content is a rectangle; else 0. A cell's sides are never quite straight."""
    rows = np.flatnonzero(~flat.all(axis=1))
    inner = ~flat[rows[1:-1]]
    if len(inner) < LEAST_CUT_PX:
        return 0, 0
    lefts, rights = inner.argmax(axis=1), inner[:, ::-1].argmax(axis=1)
    left, right = int(np.median(lefts)), int(np.median(rights))
    framed = np.mean(lefts == left) > FRAMED and np.mean(rights == right) > FRAMED
    return (left, right) if framed else (0, 0)


def _cumulated(marks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(marks)))
