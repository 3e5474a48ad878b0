"""Image files of made-up cells, no two alike."""

from pathlib import Path

import cv2
import numpy as np


def pictures(folder: Path, count: int) -> None:
    """A new folder of discs on black, 450×450, each a pixel larger than the one before."""
    folder.mkdir()
    for i in range(count):
        cell = np.zeros((450, 450, 3), np.uint8)
        cv2.circle(cell, (225, 225), 90 + i, (160, 60, 120), -1)
        cv2.imwrite(str(folder / f"{i}.png"), cell)
