"""Alterations of a training picture by another camera: focus, light, white balance, noise, compression.

After the picture is turned: what is put on before is smoothed away again by the turning. In a camera's order, but that
noise is always put on the network's own pixels, as in the paper: making a picture small would average it away.
"""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from train.fit.recipe import CameraRecipe

_BANK_SIZE = 1 << 22
"""Normal numbers that all noise is cut from, at a random place: a tenth of the time that drawing anew takes."""

_BANK_SEED = 5

_JPEG_BLOCK = 16
"""Pixels: with 4:2:0 colours a block says nothing of the pixels beyond its neighbours."""

_LEAST_SIGMA = 0.1
"""OpenCV takes a sigma of 0 for "from the kernel's size", which would be a blur."""


def cell_size(recipe: CameraRecipe, rng: np.random.Generator) -> float:
    """How many times as large a picture's cell is made."""
    return rng.uniform(*recipe.size) if rng.random() < recipe.size_share else 1.0


def shot(pixels: Pixels, recipe: CameraRecipe, geometry: Geometry, rng: np.random.Generator) -> Pixels:
    """The picture as another camera might have taken it, cut and made small; black stays black but for the noise.

    Args:
        pixels: (S, S, 3) uint8 RGB, in the camera's pixels, or already as large as the network's input.
        geometry: of the network's input.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    if pixels.shape[0] == geometry.size:
        pixels = _toned(_blurred(pixels, recipe, 1.0, rng), recipe, rng)
        return _coded(_noised(pixels, recipe, rng), recipe, rng)
    pixels = _blurred(pixels, recipe, geometry.crop / geometry.size, rng)
    pixels = _toned(_without_margin(pixels, geometry.crop), recipe, rng)
    return _noised(prepare(_coded(pixels, recipe, rng), geometry), recipe, rng)


def _without_margin(pixels: Pixels, crop: int) -> Pixels:
    """The middle of a picture: all whole JPEG blocks at the border are left out that do not alter the crop."""
    spare = (pixels.shape[0] - crop) // 2 // _JPEG_BLOCK - 1
    if spare < 1:
        return pixels
    cut = slice(spare * _JPEG_BLOCK, pixels.shape[0] - spare * _JPEG_BLOCK)
    return np.ascontiguousarray(pixels[cut, cut])


def _blurred(pixels: Pixels, recipe: CameraRecipe, scale: float, rng: np.random.Generator) -> Pixels:
    """Out of focus; `scale`: pixels of the picture to one of the network's."""
    if rng.random() >= recipe.blur_share:
        return pixels
    sigma = scale * max(_LEAST_SIGMA, rng.uniform(0, recipe.blur_sigma_pixels))
    side = 2 * round(3 * scale) + 1
    rows, columns = _around_cell(pixels, side // 2)
    blurred = np.zeros_like(pixels)
    blurred[rows, columns] = cv2.GaussianBlur(pixels[rows, columns], (side, side), sigma)
    return blurred


def _around_cell(pixels: Pixels, margin: int) -> tuple[slice, slice]:
    """Rows and columns of all that is not black, and at least so much around it; at steps of 16, since OpenCV rounds
    the last columns of a picture of another width in another way."""
    brightest = cv2.max(cv2.max(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
    x, y, width, height = cv2.boundingRect(brightest)
    starts = [max(0, at - margin) // 16 * 16 for at in (y, x)]
    stops = [-(-(at + length + margin) // 16) * 16 for at, length in ((y, height), (x, width))]
    return slice(starts[0], stops[0]), slice(starts[1], stops[1])


def _noised(pixels: Pixels, recipe: CameraRecipe, rng: np.random.Generator) -> Pixels:
    if rng.random() >= recipe.noise_share:
        return pixels
    return noisy(pixels, rng.uniform(0, recipe.noise_sigma_levels), rng)


def _coded(pixels: Pixels, recipe: CameraRecipe, rng: np.random.Generator) -> Pixels:
    if rng.random() >= recipe.jpeg_share:
        return pixels
    low, high = recipe.jpeg_quality
    return compressed(pixels, int(rng.integers(low, high + 1)))


def _toned(pixels: Pixels, recipe: CameraRecipe, rng: np.random.Generator) -> Pixels:
    """Gamma, light and white balance in one look-up table a channel."""
    gamma = rng.uniform(*recipe.gamma) if rng.random() < recipe.gamma_share else 1.0
    factors = np.ones(3)
    if rng.random() < recipe.light_share:
        factors *= rng.uniform(*recipe.light)
    if rng.random() < recipe.balance_share:
        factors *= rng.uniform(1 - recipe.balance, 1 + recipe.balance, size=3)
    if gamma == 1.0 and (factors == 1.0).all():
        return pixels
    levels = 255 * (np.arange(256) / 255) ** gamma
    table = np.clip(np.rint(levels[:, np.newaxis] * factors), 0, 255).astype(np.uint8)
    if (factors == factors[0]).all():
        table = table[:, :1]  # the same for all channels: half of the time
    return cv2.LUT(pixels, table[np.newaxis])  # type: ignore[return-value]


def noisy(pixels: Pixels, sigma_levels: float, rng: np.random.Generator) -> Pixels:
    """Zero-mean Gaussian noise, rounded and clipped to 0…255."""
    bank = _bank()
    start = int(rng.integers(0, bank.size - pixels.size))
    noise = bank[start : start + pixels.size].reshape(pixels.shape) * np.float32(sigma_levels)
    return cv2.add(pixels, noise, dtype=cv2.CV_8U)  # type: ignore[return-value]


def compressed(pixels: Pixels, quality: int) -> Pixels:
    """Through JPEG with 4:2:0 colours and back.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        quality: 1 to 100.
    """
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    # Not IMREAD_COLOR_RGB: that takes twice as long.
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


@lru_cache(maxsize=1)
def _bank() -> npt.NDArray[np.float32]:
    return np.random.default_rng(_BANK_SEED).standard_normal(_BANK_SIZE, dtype=np.float32)
