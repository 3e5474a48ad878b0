"""Counts each cell once: finds where a field lies relative to earlier fields, and which of its cells were seen in
them."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.field.resize import resized
from edge.imaging.frame import Pixels

SIDE_PX = 128
"""Longer side of the grey pictures by which fields are compared, pixels."""

MIN_OVERLAP = 0.12
"""Two fields that share less of their area cannot be told from unrelated fields."""

MIN_LIKENESS = 0.72
"""Two fields whose shared parts correlate by more than this are neighbours. True neighbours under noise have 0.8 and
more; unrelated fields reach 0.6 at the best of many shifts."""

LEAST_VARIANCE = 1e-3
"""Of the pixels of a shared part, square levels; a flatter part, without cells or noise, is like nothing."""

WHITENED = 0.8
"""Power of the spectrum's size that it is divided by: 1 is phase correlation, 0 plain correlation."""

PEAKS = 12

STILL_PART = 0.01
"""A field that has moved by less than this part of its longer side has not moved."""

KEPT_FIELDS = 24
"""Fields of a specimen that a new one is compared with, the newest first."""

SAME_CELL_PART = 0.5
"""A cell within this part of its width from one that was seen is that one."""

Grey = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Look:
    """A field as it is compared: small, grey, without its slow changes of light, and its spectrum, whitened."""

    grey: Grey
    spectrum: Spectrum
    factor: float


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a field lies.

    Attributes:
        x, y: of its upper left corner, pixels of the field, from that of the specimen's first field.
        island: fields that are not joined by overlaps have different ones; nothing is known of the way between.
        moved: False where the field lies as the one before.
    """

    x: float
    y: float
    island: int
    moved: bool


class Walk:
    """The fields of one specimen, and the cells that were seen in them."""

    def __init__(self) -> None:
        self._specimen = ""
        self._fields: deque[tuple[Look, Placed]] = deque(maxlen=KEPT_FIELDS)
        self._cells: dict[int, list[tuple[float, float]]] = {}
        self._islands = 0

    def place(self, field: Pixels, specimen: str) -> Placed:
        """Where this field lies beside those before it.

        Args:
            field: (H, W, 3) uint8 RGB.
            specimen: another one begins anew.
        """
        if specimen != self._specimen:
            self.__init__()  # type: ignore[misc]
            self._specimen = specimen
        look = look_at(field)
        placed = self._beside(look)
        if placed is None:
            self._islands += 1
            placed = Placed(0.0, 0.0, self._islands, True)
        if placed.moved:
            self._fields.appendleft((look, placed))
            self._forget_lost()
        return placed

    def _forget_lost(self) -> None:
        """Forget the cells of islands of which no field is kept: nothing can be found beside them any more."""
        kept = {placed.island for _, placed in self._fields}
        for island in self._cells.keys() - kept:
            del self._cells[island]

    def new(self, placed: Placed, centres: list[tuple[float, float]], widths: list[float]) -> list[bool]:
        """Of each cell of a field whether it was not seen before; from now on it was.

        Args:
            placed: the field.
            centres: x and y of the cells, pixels of the field.
            widths: of the cells.
        """
        seen = self._cells.setdefault(placed.island, [])
        known = np.array(seen).reshape(-1, 2)
        answers = []
        for (x, y), width in zip(centres, widths, strict=True):
            at = (x + placed.x, y + placed.y)
            near = np.hypot(*(known - at).T) if len(known) else np.empty(0)
            is_new = not (near < SAME_CELL_PART * width).any()
            answers.append(is_new)
            if is_new:
                seen.append(at)
        return answers

    def _beside(self, look: Look) -> Placed | None:
        for number, (other, placed) in enumerate(self._fields):
            if other.grey.shape != look.grey.shape:
                continue
            shift = shift_between(other, look)
            if shift is None:
                continue
            if number == 0 and np.hypot(*shift) < STILL_PART * SIDE_PX:
                return Placed(placed.x, placed.y, placed.island, False)
            x, y = placed.x + shift[0] / look.factor, placed.y + shift[1] / look.factor
            return Placed(x, y, placed.island, True)
        return None


def shift_between(one: Look, other: Look) -> tuple[float, float] | None:
    """By how much the second field lies right of and below the first, pixels; None if they share too little.

    Phase correlation (Kuglin & Hines 1975), with room for every shift; of its highest peaks the one is taken whose
    shared parts are most alike, since with a small shared part the highest peak may be chance.
    """
    height, width = one.grey.shape
    size = (2 * height, 2 * width)
    surface = np.fft.irfft2(one.spectrum * np.conj(other.spectrum), size).astype(np.float32)
    highest = cv2.dilate(surface, np.ones((5, 5), np.uint8))
    peaks = np.flatnonzero(surface == highest)
    peaks = peaks[np.argsort(surface.ravel()[peaks])[::-1][:PEAKS]]
    best, found = MIN_LIKENESS, None
    for row, column in zip(*np.unravel_index(peaks, size), strict=True):
        y = int(row) - (size[0] if row >= height else 0)
        x = int(column) - (size[1] if column >= width else 0)
        likeness = _likeness(one.grey, other.grey, x, y)
        if likeness > best:
            best, found = likeness, (x, y)
    return None if found is None else _refined(surface, *found)


def _refined(surface: Grey, x: int, y: int) -> tuple[float, float]:
    """A peak's place between the pixels, by parabolas through its neighbours."""
    rows, columns = surface.shape
    middle = float(surface[y % rows, x % columns])
    shift = []
    for before, after in (
        (surface[y % rows, (x - 1) % columns], surface[y % rows, (x + 1) % columns]),
        (surface[(y - 1) % rows, x % columns], surface[(y + 1) % rows, x % columns]),
    ):
        bend = float(before) + float(after) - 2 * middle
        shift.append(0.5 * (float(before) - float(after)) / bend if bend < 0 else 0.0)
    return x + shift[0], y + shift[1]


def _likeness(one: Grey, other: Grey, x: int, y: int) -> float:
    """Correlation of what both share where `other` lies `x` right of and `y` below `one`; 0 if that is little."""
    height, width = one.shape
    across, down = width - abs(x), height - abs(y)
    if across < 8 or down < 8 or across * down < MIN_OVERLAP * width * height:
        return 0.0
    a = one[max(y, 0) : max(y, 0) + down, max(x, 0) : max(x, 0) + across]
    b = other[max(-y, 0) : max(-y, 0) + down, max(-x, 0) : max(-x, 0) + across]
    # From sums that OpenCV makes without a copy: `matchTemplate` takes thirty times as long for a single place.
    count = across * down
    mean_a, mean_b = cv2.mean(a)[0], cv2.mean(b)[0]
    square_a, square_b = cv2.norm(a, cv2.NORM_L2SQR) / count, cv2.norm(b, cv2.NORM_L2SQR) / count
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    if min(variance_a, variance_b) < LEAST_VARIANCE:
        return 0.0
    product = (square_a + square_b - cv2.norm(a, b, cv2.NORM_L2SQR) / count) / 2
    return float((product - mean_a * mean_b) / (variance_a * variance_b) ** 0.5)


def look_at(field: Pixels) -> Look:
    """A field as it is compared.

    Args:
        field: (H, W, 3) uint8 RGB.
    """
    factor = SIDE_PX / max(field.shape[:2])
    size = (max(16, round(field.shape[1] * factor)), max(16, round(field.shape[0] * factor)))
    small = resized(field, *size)
    green = cv2.extractChannel(small, 1).astype(np.float32)
    grey = green - cv2.blur(green, (33, 33))
    spectrum = np.fft.rfft2(grey, (2 * size[1], 2 * size[0]))
    # Once a field, not once a pair: a product's size is the product of the sizes.
    return Look(grey, spectrum / (np.abs(spectrum) ** WHITENED + 1e-6), factor)
