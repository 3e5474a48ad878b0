"""The network that finds white cells: its layers, its targets and its loss."""

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from edge.imaging.field.maps import (
    CELL_STRIDE_PX,
    CHANNELS,
    HEAT,
    MASK_STRIDE_PX,
    SCALE,
    SIZE,
    SIZE_BASE_PX,
    STEPS_AN_OCTAVE,
)
from train.fields.compose import RED_PX, Composed

TARGETS = 13
"""Planes of the targets: 4 of the mask, its weight, heat, its weight, 2 of the size, where it counts, scale, and
two of spare for nothing but an even layout."""

SMALL_PART = 0.45
"""A cell of which the border leaves less than this part is ignored: finding it is neither right nor wrong."""

USUAL_WIDTH_IN_REDS = 1.5
INSIDE_WEIGHT = 2.5
"""Of a position within a cell against one outside: pale cytoplasm is more easily missed than background taken."""

ELLIPSE_WEIGHT = 0.3
"""Of a mask that is only an ellipse in its box."""


def finder(side: int | None = None) -> keras.Model:
    """A small U-shaped network, fully convolutional; it enlarges by depth-to-space, so any size can be given.

    Returns:
        A model from (N, H, W, 3) float32 in -1…1, H and W multiples of 32, to (N, H / 4, W / 4, 8) float32; see
        `edge.imaging.field.maps`.
    """
    image = keras.Input((side, side, 3))
    half = _conv(image, 16, 3, 2)
    quarter = _conv(_conv(half, 24, 3, 2), 24, 3)
    eighth = _separable(_separable(_conv(quarter, 32, 3, 2), 32), 32)
    x = _conv(eighth, 48, 3, 2)
    for _ in range(3):
        x = _separable(x, 48)
    sixteenth = x
    x = _separable(_separable(_conv(x, 64, 3, 2), 64), 64)
    x = _separable(_up(x, sixteenth, 48), 48)
    x = _separable(_up(x, eighth, 32), 32)
    x = _conv(_up(x, quarter, 24), 32, 3)
    maps = layers.Conv2D(CHANNELS, 1, bias_initializer=_first_guess, name="maps")(x)
    return keras.Model(image, maps, name="finder")


def _first_guess(shape: tuple[int, ...], dtype: object = None) -> tf.Tensor:
    """The biases of the output: no cell anywhere, sizes and red cells of a usual picture."""
    usual = STEPS_AN_OCTAVE * np.log2(RED_PX / SIZE_BASE_PX)
    return tf.constant([-1.5] * 4 + [-4.0, usual + 2.5, usual + 2.5, usual], tf.float32)


def _conv(x: keras.KerasTensor, filters: int, size: int, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.97)(x))


def _separable(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.97)(y))
    return layers.Add()([x, _conv(y, filters, 1)])


def _up(x: keras.KerasTensor, skip: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = _conv(x, 4 * filters, 1)
    x = layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2))(x)
    return layers.Add()([x, _conv(skip, filters, 1)])


def targets(composed: Composed) -> npt.NDArray[np.float32]:
    """The targets of a training picture: (side / 4, side / 4, TARGETS) float32."""
    cells = composed.cells
    side = cells.shape[0] // CELL_STRIDE_PX
    out = np.zeros((side, side, TARGETS), np.float32)
    half = (cells > 0).reshape(2 * side, MASK_STRIDE_PX, 2 * side, MASK_STRIDE_PX).mean((1, 3))
    # Depth to space: the four planes of a position are its upper left, upper right, lower left, lower right.
    out[..., :4] = half.reshape(side, 2, side, 2).transpose(0, 2, 1, 3).reshape(side, side, 4)
    if composed.outlined:
        out[..., 4] = 1
    else:
        out[..., 4] = np.where(out[..., :4].max(-1) > 0, ELLIPSE_WEIGHT, 1)
    out[..., 6] = 1
    y, x = np.mgrid[0:side, 0:side] + 0.5
    for number in np.unique(cells)[1:]:
        _cell_targets(out, cells == number, composed.red_px, x, y)
    out[..., 10] = STEPS_AN_OCTAVE * np.log2(composed.red_px / SIZE_BASE_PX)
    return out


def _cell_targets(
    out: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    red_px: float,
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
) -> None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    height, width = int(bottom - top), int(right - left)
    s = CELL_STRIDE_PX
    cut = top == 0 or left == 0 or bottom == mask.shape[0] or right == mask.shape[1]
    usual = np.pi / 4 * (USUAL_WIDTH_IN_REDS * red_px) ** 2
    if mask.sum() < SMALL_PART * usual * (1 if cut else 0.3):
        out[top // s : -(-bottom // s), left // s : -(-right // s), 6] = 0
        return
    cx, cy = (left + right) / 2 / s, (top + bottom) / 2 / s
    spread = max(0.7, 0.09 * np.sqrt(width * height) / s)
    heat = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * spread**2))
    row, column = min(int(cy), heat.shape[0] - 1), min(int(cx), heat.shape[1] - 1)
    heat[row, column] = 1
    near = heat > 0.5
    out[..., 5] = np.maximum(out[..., 5], heat)
    out[near, 7] = STEPS_AN_OCTAVE * np.log2(width / SIZE_BASE_PX)
    out[near, 8] = STEPS_AN_OCTAVE * np.log2(height / SIZE_BASE_PX)
    out[near, 9] = 1


def loss(truth: tf.Tensor, said: tf.Tensor) -> tf.Tensor:
    """Mask: cross-entropy. Heat: the focal loss of CenterNet (Zhou et al. 2019). Size and scale: L1."""
    mask = tf.nn.weighted_cross_entropy_with_logits(truth[..., :4], said[..., :4], INSIDE_WEIGHT)
    mask = tf.reduce_mean(mask * truth[..., 4:5])
    heat, wanted = said[..., HEAT], truth[..., 5]
    probability = tf.clip_by_value(tf.sigmoid(heat), 1e-5, 1 - 1e-5)
    peak = tf.cast(wanted > 0.999, tf.float32)
    found = peak * (1 - probability) ** 2 * tf.math.log(probability)
    other = (1 - peak) * (1 - wanted) ** 4 * probability**2 * tf.math.log(1 - probability)
    count = tf.maximum(tf.reduce_sum(peak), 1.0)
    focal = -tf.reduce_sum((found + other) * truth[..., 6]) / count
    near = truth[..., 9:10]
    size = tf.reduce_sum(tf.abs(said[..., SIZE[0] : SIZE[1]] - truth[..., 7:9]) * near)
    size /= tf.maximum(tf.reduce_sum(near), 1.0)
    scale = tf.reduce_mean(tf.abs(said[..., SCALE] - truth[..., 10]))
    return 4.0 * mask + focal + 0.3 * size + 2.0 * scale
