"""The ruler: red cells are 7 to 8 µm wide everywhere, so their width in pixels gives the scale of a field."""

from collections import deque

import numpy as np

RED_CELL_MICRONS = 7.5
MODEL_RED_CELL_PX = 113.0
"""Width of a red cell at the scale of C-NMC, where the model file does not tell its microns per pixel. C-NMC shows
no red cells: a white cell there is 203 px wide, and in the fields of three other sets 1.8 red cells."""

SMOOTHED_FRAMES = 15
"""Number of frames of a specimen whose median gives its ruler."""

JUMP = 1.4
"""A frame whose red cells differ more from those before is of another objective: the ruler begins anew."""

MIN_CELL_PX = 48.0
"""A narrower white cell cannot be classified: it would have to be enlarged, and has too little detail."""

RANGE_PX = (6.0, 600.0)
"""Red cells outside of it are no red cells: the scale is wrong, or there are none in the field."""


class Ruler:
    """The width of a red cell in the fields of one specimen, smoothed over its frames.

    Args:
        microns_per_pixel: of the field, if it is known; then nothing is measured. 0 if it is not.

    Attributes:
        fixed_px: the width that follows from it; 0 if it is measured.
    """

    def __init__(self, microns_per_pixel: float = 0.0):
        self.fixed_px = RED_CELL_MICRONS / microns_per_pixel if microns_per_pixel else 0.0
        self._specimen = ""
        self._seen: deque[float] = deque(maxlen=SMOOTHED_FRAMES)

    def known_px(self, specimen: str) -> float:
        """Width of a red cell by this specimen's frames so far, pixels of the field; 0 before the first."""
        if self.fixed_px:
            return self.fixed_px
        if specimen != self._specimen:
            self._specimen = specimen
            self._seen.clear()
        return float(np.median(self._seen)) if self._seen else 0.0

    def forget(self) -> None:
        """The next field is of another source."""
        self._seen.clear()

    def measured(self, red_px: float, specimen: str) -> float:
        """Add a frame's own measurement; returns the smoothed one."""
        known = self.known_px(specimen)
        if known and not 1 / JUMP < red_px / known < JUMP:
            self._seen.clear()
        if RANGE_PX[0] <= red_px <= RANGE_PX[1]:
            self._seen.append(red_px)
        return self.known_px(specimen) or red_px


def model_red_cell_px(microns_per_pixel: float) -> float:
    """Width of a red cell at the scale of the classifier's training; its manifest's figure, 0 if it has none."""
    return RED_CELL_MICRONS / microns_per_pixel if microns_per_pixel else MODEL_RED_CELL_PX
