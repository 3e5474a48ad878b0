"""Augmentation of training images: grey copies, noise, one random affine map and one random colour map."""

import cv2
import numpy as np

from edge.imaging.frame import Pixels
from train.fit.recipe import AugmentRecipe


def desaturate(pixels: Pixels) -> Pixels:
    """The image in HSV with saturation zero, back in RGB: each pixel's largest channel in all three.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    return np.repeat(pixels.max(axis=2, keepdims=True), 3, axis=2)


def add_noise(pixels: Pixels, sigma_levels: float, rng: np.random.Generator) -> Pixels:
    """Zero-mean Gaussian noise, drawn for each pixel and channel, rounded and clipped to 0…255.

    Args:
        pixels: (…, 3) uint8.
        sigma_levels: standard deviation in 8-bit levels; 0 changes nothing.
    """
    if sigma_levels == 0:
        return pixels
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    noise *= sigma_levels
    noise += pixels
    return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)


def affine_matrix(recipe: AugmentRecipe, side: int, rng: np.random.Generator) -> np.ndarray:
    """Rotation, shear, zoom, flips and shift as one map from the result's pixels to the image's.

    All about the image's centre. Composed, so that the image is resampled once and not five times.

    Args:
        side: of the square image, in pixels.

    Returns:
        (2, 3) float64, for `cv2.warpAffine` with WARP_INVERSE_MAP.
    """
    angle = np.deg2rad(rng.uniform(-recipe.rotation_deg, recipe.rotation_deg))
    shear = np.deg2rad(rng.uniform(-recipe.shear_deg, recipe.shear_deg))
    zoom_x, zoom_y = rng.uniform(*recipe.zoom, size=2)
    if recipe.zoom_keeps_shape:
        zoom_y = zoom_x
    shift = rng.uniform(-recipe.shift, recipe.shift, size=2) * side
    flip_x = -1.0 if rng.random() < recipe.flip_horizontal else 1.0
    flip_y = -1.0 if rng.random() < recipe.flip_vertical else 1.0

    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shearing = np.array([[1.0, -np.sin(shear)], [0.0, np.cos(shear)]])
    scale = np.diag([zoom_x * flip_x, zoom_y * flip_y])
    linear = rotate @ shearing @ scale
    centre = np.full(2, (side - 1) / 2)
    return np.column_stack([linear, centre - linear @ centre + shift])


# Rows: grey (ITU-R BT.601), then two axes of colour across it; hue turns the colours in their plane.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


def colour_matrix(recipe: AugmentRecipe, rng: np.random.Generator) -> np.ndarray:
    """Brightness, channel gains, saturation and hue as one linear map of a pixel, so that black stays black.

    Returns:
        (3, 3) float64, from RGB to RGB.
    """
    factor = rng.uniform(*recipe.brightness)
    gains = rng.uniform(1 - recipe.channel_gain, 1 + recipe.channel_gain, size=3)
    saturation = rng.uniform(*recipe.saturation)
    hue = np.deg2rad(rng.uniform(-recipe.hue_deg, recipe.hue_deg))
    turned = np.eye(3)
    turned[1:, 1:] = saturation * np.array([[np.cos(hue), -np.sin(hue)], [np.sin(hue), np.cos(hue)]])
    return np.asarray(np.diag(factor * gains) @ _RGB @ turned @ _YIQ)


def stain_table(stain: float, rng: np.random.Generator) -> Pixels:
    """More or less dye, drawn for each channel: the optical density -log(p / 255) times 1 ± `stain`.

    Returns:
        (1, 256, 3) uint8, for `cv2.LUT`.
    """
    density = rng.uniform(1 - stain, 1 + stain, size=3)
    levels = np.arange(256)[:, np.newaxis] / 255
    return np.rint(255 * levels**density).astype(np.uint8)[np.newaxis]


def augment(
    pixels: Pixels, recipe: AugmentRecipe, rng: np.random.Generator, cell_size: float = 1.0
) -> Pixels:
    """One random variant of a training image; what comes in from outside the image is black.

    Args:
        pixels: (S, S, 3) uint8 RGB.
        cell_size: how many times as large the cell is made.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    side = pixels.shape[0]
    matrix = affine_matrix(recipe, side, rng)
    if cell_size != 1.0:
        centre = np.full(2, (side - 1) / 2)
        middle = matrix[:, :2] @ centre + matrix[:, 2]
        matrix[:, :2] /= cell_size
        matrix[:, 2] = middle - matrix[:, :2] @ centre
    result = _warped(pixels, matrix)
    if recipe.blur_sigma_pixels:
        # OpenCV takes a sigma of 0 for "from the kernel's size", which would be a blur.
        sigma = max(0.05, rng.uniform(0, recipe.blur_sigma_pixels))
        result = cv2.GaussianBlur(result, (5, 5), sigma)
    if recipe.stain:
        result = cv2.LUT(result, stain_table(recipe.stain, rng))
    colours = colour_matrix(recipe, rng)
    if recipe.brightness_stretched:
        darkest, brightest = float(result.min()), float(result.max())
        colours = colours * 255 / max(brightest - darkest, 1.0)
        colours = np.column_stack([colours, -darkest * colours.sum(axis=1)])
    elif np.allclose(colours, np.eye(3), rtol=0, atol=1e-9):
        return result  # type: ignore[return-value]
    return cv2.transform(result, colours)  # type: ignore[return-value]


def _warped(pixels: Pixels, matrix: np.ndarray) -> cv2.typing.MatLike:
    """Resampled by a map from the result's pixels to the image's, with four channels: OpenCV turns those faster."""
    side = pixels.shape[0]
    turned = cv2.warpAffine(
        cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA),
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    return cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB)
