"""The lamp: the background between the cells is white, and serves to make a field even and neutral."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.field.resize import Halves, resized
from edge.imaging.frame import Pixels

WHITE_LEVELS = 220.0
"""What the background becomes, in all three channels; levels."""

LOOK_SIDE_PX = 256
"""The background is searched for in a picture with this longer side, pixels: fast, and the gaps between the small red
cells of a phone's picture are still visible."""

BLOCK_PX = 16
BRIGHT_PIXELS = 20
"""Of a block's 256 pixels those with the most green, which every stain absorbs most: they are background, if the
block holds any."""

RIM_PART = 0.35
"""A block darker than this part of the brightest is the black rim of an eyepiece, not a dark field."""

NO_BACKGROUND_PART = 0.93
"""A block whose guess is under this part of the surface holds no background, only cells."""

FIT_ROUNDS = 6
MAX_GAIN = 4.0

Surface = npt.NDArray[np.float64]

_STEPS = np.arange(8.0)


@dataclass(frozen=True, slots=True)
class Lamp:
    """The white level at each position of a field.

    Attributes:
        terms: (6, 3) float64: natural logarithm of the white level of red, green and blue as a second-order
            surface over x and y, which go from -1 to 1 over the field.
        width, height: of the field, pixels.
    """

    terms: Surface
    width: int
    height: int

    def gain(self, left: float, top: float, right: float, bottom: float) -> npt.NDArray[np.float32]:
        """(8, 8, 3) float32: what the pixels of a part of the field are multiplied by."""
        x = _eight(left, right) / self.width * 2 - 1
        y = (_eight(top, bottom) / self.height * 2 - 1)[:, None]
        basis = np.empty((8, 8, 6))  # as `_basis` of their mesh, in a third of the time: every cell needs one
        for term, values in enumerate((np.ones(1), x, y, x * x, x * y, y * y)):
            basis[..., term] = values
        white = np.exp(basis @ self.terms)
        return np.minimum(WHITE_LEVELS / white, MAX_GAIN).astype(np.float32)

    def neutral(self, picture: Pixels, part: tuple[float, float, float, float] | None = None) -> Pixels:
        """A part of the field, at any size, even and neutral.

        Args:
            picture: (h, w, 3) uint8 RGB, the part as it was cut out and perhaps resized.
            part: left, top, right, bottom of it in the field's pixels; None for the whole field.

        Returns:
            (h, w, 3) uint8 RGB.
        """
        gain = self.gain(*(part or (0, 0, self.width, self.height)))
        height, width = picture.shape[:2]
        spread = cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR)
        return cv2.multiply(picture, spread, dtype=cv2.CV_8U)  # type: ignore[return-value]


def _eight(first: float, last: float) -> npt.NDArray[np.float64]:
    """`np.linspace(first, last, 8)`."""
    numbers = _STEPS * ((last - first) / 7) + first
    numbers[-1] = last
    return numbers


def find_lamp(field: Pixels, look: Pixels | None = None) -> Lamp:
    """The background's colour over a field, from the field itself.

    If nothing bright enough is found the surface is flat, and the field is left as it is.

    Args:
        field: (H, W, 3) uint8 RGB.
        look: of it, as `small_look` makes it; None to make it here.
    """
    height, width = field.shape[:2]
    places, whites = _guesses(small_look(field) if look is None else look)
    terms = np.zeros((6, 3))
    if not len(whites):
        terms[0] = np.log(WHITE_LEVELS)
        return Lamp(terms, width, height)
    kept = np.ones(len(whites), bool)
    logs = np.log(whites)
    for _ in range(FIT_ROUNDS):
        terms = _fit(places[kept], logs[kept])
        part = np.exp((logs - _basis(*places.T) @ terms)[:, 1])
        again = part > NO_BACKGROUND_PART
        # Blocks without background pull the surface down; fit it again to those above it.
        again &= kept | (part > 1)
        if again.sum() < 3 or (again == kept).all():
            break
        kept = again
    return Lamp(terms, width, height)


def small_look(field: Pixels | Halves) -> Pixels:
    """The field with about `LOOK_SIDE_PX` along its longer side, as whole blocks.

    Args:
        field: (H, W, 3) uint8 RGB, or with its halves.
    """
    height, width = field.shape[:2]
    longer = max(height, width)
    size = [
        max(BLOCK_PX, round(side * LOOK_SIDE_PX / longer / BLOCK_PX) * BLOCK_PX) for side in (width, height)
    ]
    return resized(field, *size)


def _guesses(look: Pixels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where (n, 2) and what (n, 3) white may be, one guess a block, the rim left out."""
    rows, columns = look.shape[0] // BLOCK_PX, look.shape[1] // BLOCK_PX
    blocks = look.reshape(rows, BLOCK_PX, columns, BLOCK_PX, 3).transpose(0, 2, 1, 3, 4)
    pixels = blocks.reshape(rows * columns, BLOCK_PX * BLOCK_PX, 3)
    brightest = np.argpartition(pixels[..., 1], -BRIGHT_PIXELS, axis=1)[:, -BRIGHT_PIXELS:]
    whites = np.take_along_axis(pixels, brightest[..., None], axis=1).mean(axis=1)
    y, x = np.mgrid[0:rows, 0:columns]
    places = np.stack([(x.ravel() + 0.5) / columns * 2 - 1, (y.ravel() + 0.5) / rows * 2 - 1], axis=1)
    lit = whites[:, 1] > max(8.0, RIM_PART * float(np.quantile(whites[:, 1], 0.95)))
    return places[lit], np.maximum(whites[lit], 1.0)


def _fit(places: npt.NDArray[np.float64], logs: npt.NDArray[np.float64]) -> Surface:
    """Second order if there are enough blocks, else first order or constant; a small ridge term keeps it stable."""
    columns = 6 if len(places) >= 24 else 3 if len(places) >= 9 else 1
    basis = _basis(*places.T)[:, :columns]
    ridge = np.diag([0.0, 0.02, 0.02, 0.1, 0.1, 0.1][:columns]) * len(places)
    mean = logs.mean(axis=0)
    terms = np.zeros((6, logs.shape[1]))
    terms[:columns] = np.linalg.solve(basis.T @ basis + ridge, basis.T @ (logs - mean))
    terms[0] += mean
    return terms


def _basis(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
