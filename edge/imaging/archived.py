"""What a network is shown of a picture of the box's archive, which is the whole square that shows the cell."""

from pathlib import Path

from edge.imaging.background import blacken
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare, with_crop


def archived_crop(file: Path, geometry: Geometry, black: bool = False) -> Pixels:
    """The crop, (size, size, 3) uint8 RGB.

    Args:
        file: a picture of the archive. One as large as the network's input, as of a cell in a whole field, is given as
            it is.
        geometry: of the model.
        black: blacken all but the cell, as [camera] background = "black" does.

    Raises:
        InputError: it cannot be read.
    """
    pixels = read_image(file)
    if pixels.shape[:2] == (geometry.size, geometry.size):
        return pixels
    return prepare(blacken(pixels) if black else pixels, with_crop(geometry, min(pixels.shape[:2])))
