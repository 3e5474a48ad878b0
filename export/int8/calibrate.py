"""int8 ranges, weights and biases of a deploy graph, so that its outputs are those of the float graph.

Layer by layer, on representative crops. Each layer is fitted to give what the float network gives there,
from inputs as the int8 network has them, so that it also corrects the errors of the layers before it:

1. The weights are moved a little towards the least squares solution, held by a ridge to those of training.
2. They are rounded one input at a time, and the inputs still to come compensate for the error of each rounding (GPTQ:
Frantar et al. 2022, arXiv:2210.17323).
3. The bias is set so that every channel's mean is the float network's (the empirical bias correction of
   Nagel et al. 2019, arXiv:1906.04721, on quantised inputs).

For the last layer a crop counts by the curvature of its log loss, so that the int8 probabilities are closest to the
float ones near the threshold, not where every network is certain.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edge.imaging.frame import Pixels
from export.int8.deploy import LEVELS, DeployGraph, Floats, Layer, for_int8

log = logging.getLogger(__name__)

Doubles = npt.NDArray[np.float64]

WEIGHT_LEVELS = 127
"""Largest quantised weight: TFLite's int8 weights are symmetric, -127…127, one scale a channel."""

RIDGE = 1.0
"""Of step 1, in units of an input's mean variance. 0.3, 1, 3 and 10 came to the same within 15 % of the logits'
error; at 0.01 a 1.0/224 fitted its sample and nothing else."""

DAMPING = 0.01
"""Of step 2, in the same units; the GPTQ paper's own."""

LARGEST_BIAS = 2**24
"""In quantised steps: below TFLite's 2**31, and what float32 holds exactly."""

SMALLEST_VARIANCE = 1e-6
"""An input that varies less is as good as constant: an eighth of a quantised level or less."""

FEATURE_MARGIN = 1.25
"""The pooled features' range over that of the sample, for cells that show more of one than any in it."""

LOGIT_MARGIN = 1.5
"""The logits' range over that of the sample, for cells that are surer than any in it."""

SURE = float(np.log(LEVELS)) / 2
"""Logits of ± this are a probability of 255/256, and an int8 softmax can express no more: a wider range only makes
the steps coarser."""

LEAST_COUNT = 1e-6
"""Minimum weight of a crop in the last layer, so that a network that is certain of every crop can be fitted too."""

_BATCH = 8
"""Images at a time; their patches, nine times a layer's input, take half a gigabyte at 1.0/224."""


@dataclass(frozen=True, slots=True)
class Range:
    """Real values that an int8 activation tensor covers; 0 is exactly one of its levels."""

    low: float
    high: float

    @classmethod
    def around(cls, low: float, high: float) -> "Range":
        """The range from `low` to `high`, stretched to 0 and shifted by less than a level."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / LEVELS or 1.0
        below = round(-low / scale)
        return cls(-below * scale, (LEVELS - below) * scale)

    @property
    def scale(self) -> float:
        """Of one level."""
        return (self.high - self.low) / LEVELS

    def quantise(self, x: Floats) -> Floats:
        """Real values rounded to levels and cut to the range, still as real float32 values."""
        scale = np.float32(self.scale)
        levels = np.rint(np.clip(x, np.float32(self.low), np.float32(self.high)) / scale)
        return np.asarray(levels * scale, np.float32)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A graph whose weights are whole levels of their scales, with the ranges of its activations.

    Attributes:
        graph: see `export.int8.deploy.for_int8`.
        weight_scales: of each layer, (out,) float32.
        ranges: of each layer's output.
        features: range of the pooled features, the mean over the map that the last layer reads.
        logits: range of the mean over the activation map.
    """

    graph: DeployGraph
    weight_scales: tuple[Floats, ...]
    ranges: tuple[Range, ...]
    features: Range
    logits: Range


@dataclass(frozen=True, slots=True)
class Moments:
    """Second moments of a layer's inputs x and float outputs z over all positions of all crops, as each counts.

    `inputs` and `outputs` count those of a group; a depthwise convolution has a group a channel.

    Attributes:
        xx: (groups, inputs, inputs) float64, covariance of the inputs.
        xz: (groups, inputs, outputs) float64, covariance of inputs and outputs.
        mean_x: (groups, inputs) float64.
        mean_z: (groups, outputs) float64.
    """

    xx: Doubles
    xz: Doubles
    mean_x: Doubles
    mean_z: Doubles


def calibrate(graph: DeployGraph, crops: Pixels) -> Calibrated:
    """Fit the int8 graph to the float one on representative crops.

    The same crops give the same result on one machine.

    Args:
        graph: as `export.int8.deploy.deploy_graph` gives it.
        crops: (N, size, size, 3) uint8 RGB.
    """
    exact = [graph.input.real(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
    lossy = list(exact)
    target = for_int8(graph)
    layers, scales, ranges = [], [], []
    step = graph.input.scale
    features = Range.around(0.0, 0.0)
    for float_layer, int8_layer in zip(graph.layers, target.layers, strict=True):
        # The last layer's outputs are small, and give the weight of each crop.
        logits_of = [float_layer(x).numpy() for x in exact] if float_layer is graph.layers[-1] else []
        counts = [_curvature(y) for y in logits_of] or [np.ones(len(x), np.float32) for x in exact]
        if logits_of:
            features = Range.around(0.0, FEATURE_MARGIN * max(float(x.mean((1, 2)).max()) for x in lossy))
        moments, lowest, highest = _moments(float_layer, int8_layer, exact, lossy, counts)
        layer, scale = fit(int8_layer, moments, step)
        reach = Range.around(lowest, min(highest, 6.0) if layer.relu6 else highest)
        for index in range(len(exact)):  # in place: at 1.0/224 memory has room for two copies of a map
            exact[index] = logits_of[index] if logits_of else float_layer(exact[index]).numpy()
            lossy[index] = reach.quantise(layer(lossy[index]).numpy())
        step = reach.scale
        layers.append(layer)
        scales.append(scale)
        ranges.append(reach)
        log.debug("%s: %.4g…%.4g", layer.name, reach.low, reach.high)
    largest = max(float(np.abs(evidence.mean((1, 2))).max()) for evidence in exact)
    surest = min(largest * LOGIT_MARGIN, SURE)
    logits = Range.around(-surest, surest)
    # The two logits are each other's negative, so their difference would move by two levels at a time. A quarter of a
    # level added to both, which the softmax ignores, makes them round alternately.
    layers[-1] = replace(layers[-1], bias=layers[-1].bias + np.float32(logits.scale / 4))
    return Calibrated(replace(target, layers=tuple(layers)), tuple(scales), tuple(ranges), features, logits)


def fit(layer: Layer, moments: Moments, step: float) -> tuple[Layer, Floats]:
    """One layer with weights on int8 levels and the bias that belongs to them.

    Args:
        step: scale of the layer's input.

    Returns:
        The layer, and its weights' scales, (out,) float32.
    """
    trained = _grouped(layer)
    variance = np.maximum(np.trace(moments.xx, axis1=1, axis2=2) / trained.shape[1], SMALLEST_VARIANCE)
    unit = variance[:, np.newaxis, np.newaxis] * np.eye(trained.shape[1])
    missing = moments.xz - moments.xx @ trained
    weights = trained + np.linalg.solve(moments.xx + RIDGE * unit, missing)
    # TFLite counts a bias in steps of the input's scale times the weights': beside weights of next to
    # nothing, as ImageNet's MobileNet has in channels that died, it would not fit into its integers.
    through = (moments.mean_x[:, :, np.newaxis] * weights).sum(1)
    finest = (np.abs(moments.mean_z) + np.abs(through)) / (step * LARGEST_BIAS)
    scales = np.maximum(np.abs(weights).max(1) / WEIGHT_LEVELS, finest)
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    rounded = _round(weights, scales.astype(np.float64), moments.xx + DAMPING * unit)
    bias = moments.mean_z - (moments.mean_x[:, :, np.newaxis] * rounded).sum(1)
    kernel = rounded.transpose(1, 0, 2).reshape(layer.kernel.shape)
    fitted = replace(layer, kernel=kernel.astype(np.float32), bias=bias.ravel().astype(np.float32))
    return fitted, scales.ravel()


def _round(weights: Doubles, scales: Doubles, xx: Doubles) -> Doubles:
    """Weights on whole levels such that the outputs change least, for inputs with the moments `xx`.

    Args:
        weights: (groups, inputs, outputs).
        scales: (groups, outputs).
        xx: (groups, inputs, inputs), positive definite.
    """
    left = weights.copy()
    # Row i says how the inputs after i are to answer for an error in i.
    answers = np.linalg.cholesky(np.linalg.inv(xx)).transpose(0, 2, 1)
    for i in range(weights.shape[1]):
        levels = np.clip(np.rint(left[:, i] / scales), -WEIGHT_LEVELS, WEIGHT_LEVELS)
        error = (left[:, i] - levels * scales) / answers[:, i, i, np.newaxis]
        left[:, i + 1 :] -= answers[:, i, i + 1 :, np.newaxis] * error[:, np.newaxis]
        left[:, i] = levels * scales
    return np.asarray(left)


def _curvature(evidence: tf.Tensor) -> Floats:
    """(N,) float32 above 0, p · (1 - p) of the probabilities that (N, h, w, 2) activation maps come to."""
    p = tf.nn.softmax(tf.reduce_mean(evidence, (1, 2)))[:, 0]
    return np.asarray(np.maximum(p * (1 - p), LEAST_COUNT))


def _moments(
    float_layer: Layer, int8_layer: Layer, exact: list[Floats], lossy: list[Floats], counts: list[Floats]
) -> tuple[Moments, float, float]:
    """Moments of the lossy inputs and the exact outputs; the lowest and highest of those outputs.

    Args:
        exact, lossy: inputs of the float and of the int8 layer, in batches.
        counts: what each crop counts in the moments, in the same batches.
    """
    sums: list[Doubles] = []
    origin: tuple[tf.Tensor, tf.Tensor] | None = None
    rows, lowest, highest = 0.0, np.inf, -np.inf
    for before, x, count in zip(exact, lossy, counts, strict=True):
        z = float_layer.pre_activation(before)
        lowest, highest = min(lowest, float(tf.reduce_min(z))), max(highest, float(tf.reduce_max(z)))
        inputs, outputs = _patches(int8_layer, x), _columns(int8_layer, z)
        if origin is None:
            # Near the mean, so that float32 does not lose a small variance beside the square of the mean.
            origin = tf.reduce_mean(inputs, 1, keepdims=True), tf.reduce_mean(outputs, 1, keepdims=True)
        each = np.repeat(count, inputs.shape[1] // len(count))[:, np.newaxis]
        terms = [np.asarray(t, np.float64) for t in _sums(inputs - origin[0], outputs - origin[1], each)]
        sums = [total + term for total, term in zip(sums, terms, strict=True)] if sums else terms
        rows += each.sum(dtype=np.float64)
    assert origin is not None  # a sample has crops
    xx, xz, x_mean, z_mean = (total / rows for total in sums)
    x_origin, z_origin = (np.asarray(part, np.float64)[:, 0] for part in origin)
    moments = Moments(
        xx=xx - x_mean[:, :, np.newaxis] * x_mean[:, np.newaxis],
        xz=xz - x_mean[:, :, np.newaxis] * z_mean[:, np.newaxis],
        mean_x=x_mean + x_origin,
        mean_z=z_mean + z_origin,
    )
    return moments, 0.0 if float_layer.relu6 else lowest, highest


def _sums(inputs: tf.Tensor, outputs: tf.Tensor, each: Floats) -> Iterator[tf.Tensor]:
    """Sums over all positions of x·xᵀ, x·zᵀ, x and z, a position counted `each` times: (positions, 1)."""
    counted = inputs * each
    yield tf.matmul(counted, inputs, transpose_a=True)
    yield tf.matmul(counted, outputs, transpose_a=True)
    yield tf.reduce_sum(counted, 1)
    yield tf.reduce_sum(outputs * each, 1)


def _columns(layer: Layer, z: tf.Tensor) -> tf.Tensor:
    """(groups, positions, outputs) of a layer's output."""
    return tf.transpose(tf.reshape(z, (-1, layer.groups, z.shape[-1] // layer.groups)), (1, 0, 2))


def _patches(layer: Layer, x: Floats) -> tf.Tensor:
    """(groups, positions, inputs): what each position of the output is computed from."""
    side = layer.kernel.shape[0]
    patches = x
    if side > 1 or layer.stride > 1:
        margins = ((0, 0), layer.padding, layer.padding, (0, 0))
        padded = tf.pad(x, margins, constant_values=layer.pad_value)
        strides = (1, layer.stride, layer.stride, 1)
        patches = tf.image.extract_patches(padded, (1, side, side, 1), strides, (1, 1, 1, 1), "VALID")
    apart = tf.reshape(patches, (-1, side * side, layer.groups, x.shape[-1] // layer.groups))
    each = side * side * apart.shape[-1]
    return tf.reshape(tf.transpose(apart, (2, 0, 1, 3)), (layer.groups, -1, each))


def _grouped(layer: Layer) -> Doubles:
    """The kernel as (groups, inputs, outputs) float64."""
    outputs = len(layer.bias) // layer.groups
    kernel = np.asarray(layer.kernel, np.float64).reshape(-1, layer.groups, outputs)
    return np.asarray(kernel.transpose(1, 0, 2))
