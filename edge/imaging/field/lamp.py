"""The lamp: the background between the cells is white, and serves to make a field even and neutral."""

from dataclasses import dataclass
from functools import lru_cache

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

_NO_BACKGROUND_LOG = np.log(NO_BACKGROUND_PART)
_RIDGE = np.array([0.0, 0.02, 0.02, 0.1, 0.1, 0.1])


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
        # In steps u, v over the part x is x0 + dx u and y is y0 + dy v: so the terms of x and y become those of u and v.
        x0, dx = left / self.width * 2 - 1, (right - left) / 7 / self.width * 2
        y0, dy = top / self.height * 2 - 1, (bottom - top) / 7 / self.height * 2
        by_steps = np.array(
            [
                [1, x0, y0, x0 * x0, x0 * y0, y0 * y0],
                [0, dx, 0, 2 * x0 * dx, y0 * dx, 0],
                [0, 0, dy, 0, x0 * dy, 2 * y0 * dy],
                [0, 0, 0, dx * dx, 0, 0],
                [0, 0, 0, 0, dx * dy, 0],
                [0, 0, 0, 0, 0, dy * dy],
            ]
        )
        white = np.exp(_STEPS_BASIS @ (by_steps @ self.terms))
        return np.minimum(WHITE_LEVELS / white, MAX_GAIN).astype(np.float32).reshape(8, 8, 3)

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


def find_lamp(field: Pixels, look: Pixels | None = None) -> Lamp:
    """The background's colour over a field, from the field itself.

    If nothing bright enough is found the surface is flat, and the field is left as it is.

    Args:
        field: (H, W, 3) uint8 RGB.
        look: of it, as `small_look` makes it; None to make it here.
    """
    height, width = field.shape[:2]
    basis, whites = _guesses(small_look(field) if look is None else look)
    terms = np.zeros((6, 3))
    if not len(whites):
        terms[0] = np.log(WHITE_LEVELS)
        return Lamp(terms, width, height)
    kept = np.ones(len(whites), bool)
    logs = np.log(whites)
    for _ in range(FIT_ROUNDS):
        terms = _fit(basis[kept], logs[kept])
        above = logs[:, 1] - basis @ terms[:, 1]
        again = above > _NO_BACKGROUND_LOG
        # Blocks without background pull the surface down; fit it again to those above it.
        again &= kept | (above > 0)
        if np.count_nonzero(again) < 3 or (again == kept).all():
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
    """The terms of their places (n, 6) and what (n, 3) white may be, one guess a block, the rim left out."""
    rows, columns = look.shape[0] // BLOCK_PX, look.shape[1] // BLOCK_PX
    blocks = look.reshape(rows, BLOCK_PX, columns, BLOCK_PX, 3).transpose(0, 2, 1, 3, 4)
    pixels = blocks.reshape(rows * columns, BLOCK_PX * BLOCK_PX, 3)
    brightest = np.argpartition(pixels[..., 1], -BRIGHT_PIXELS, axis=1)[:, -BRIGHT_PIXELS:]
    first = np.arange(0, pixels.shape[0] * BLOCK_PX**2, BLOCK_PX**2)
    chosen = pixels.reshape(-1, 3).take(brightest.T + first, axis=0)  # (20, n, 3): rows of it are summed fast
    whites = chosen.sum(axis=0, dtype=np.uint32) / BRIGHT_PIXELS
    lit = whites[:, 1] > max(8.0, RIM_PART * _quantile(whites[:, 1], 0.95))
    basis = _block_basis(rows, columns)
    if not lit.all():
        basis, whites = basis[lit], whites[lit]
    return basis, np.maximum(whites, 1.0)


def _quantile(values: npt.NDArray[np.float64], share: float) -> float:
    """As `np.quantile`, in a fraction of the time."""
    place = share * (len(values) - 1)
    ordered = np.sort(values)
    low = ordered[int(place)]
    return float(low + (ordered[min(int(place) + 1, len(values) - 1)] - low) * (place - int(place)))


@lru_cache(maxsize=4)
def _block_basis(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """(rows * columns, 6) float64: the terms of the blocks' middles; do not write to it."""
    y, x = np.mgrid[0:rows, 0:columns]
    return _basis((x.ravel() + 0.5) / columns * 2 - 1, (y.ravel() + 0.5) / rows * 2 - 1)


def _fit(basis: npt.NDArray[np.float64], logs: npt.NDArray[np.float64]) -> Surface:
    """Second order if there are enough blocks, else first order or constant; a small ridge term keeps it stable."""
    columns = 6 if len(basis) >= 24 else 3 if len(basis) >= 9 else 1
    used = basis[:, :columns]
    mean = logs.mean(axis=0)
    terms = np.zeros((6, logs.shape[1]))
    normal = used.T @ used
    normal += np.diag(_RIDGE[:columns] * len(basis))
    terms[:columns] = np.linalg.solve(normal, used.T @ (logs - mean))
    terms[0] += mean
    return terms


def _basis(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


_STEPS_BASIS = _basis(*np.meshgrid(np.arange(8.0), np.arange(8.0))).reshape(64, 6)
"""The terms of 8 x 8 steps."""
