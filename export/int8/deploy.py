"""MobileNet_M rebuilt for inference only: fewer operators, the same outputs, and a map of the evidence.

Batch normalisations are folded into the convolutions before them, zero padding and smoothing into the convolutions
after it, and the head (pooling, normalisation, dense layer) becomes a 1×1 convolution followed by the
mean. All of it is linear, so the order may be changed; the convolution's output is the class activation
map (Zhou et al. 2016), whose mean over the positions is the logit of each class, up to what both have in common.
"""

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edge.errors import InputError, LeukoscopeError
from edge.imaging.frame import Pixels
from export.int8.flatbuffer import Padding, same_padding
from train.fit.batches import scale_pixels
from train.fit.layers import SmoothedConv2D
from train.fit.recipe import ModelRecipe

Floats = npt.NDArray[np.float32]

_POOLING = keras.layers.GlobalAveragePooling2D
_NOTHING_AT_INFERENCE = (keras.layers.Dropout, keras.layers.Flatten)
_HEAD = [keras.layers.BatchNormalization, keras.layers.Dense]

TOLERANCE = 1e-4
"""Largest difference of a probability that rounding in float32 excuses; on real cells it is 1e-5 or less."""

LEVELS = 255
"""Steps between the lowest and the highest pixel, and between int8's -128 and 127."""


@dataclass(frozen=True, slots=True)
class PixelInput:
    """The int8 input tensor: pixel p is the quantised value p - 128, whatever the network was trained on.

    The network's own input is low + p · scale. Its zero, with which Keras pads, need not be a whole
    pixel (127.5 for [-1, 1]), but the zero point of a tensor must be: it is the nearest whole pixel, and
    what is left over, `offset`, goes into the bias of the first convolution.

    Attributes:
        scale: of one pixel level, in the network's own units.
        zero_point: the quantised value of the tensor's real value 0.
        offset: own input minus the tensor's real value; at most half a level.
    """

    scale: float
    zero_point: int
    offset: float

    @classmethod
    def of(cls, recipe: ModelRecipe) -> "PixelInput":
        """The tensor for a recipe's input_low and input_high.

        Raises:
            InputError: 0 is not between them, so that padding is no pixel.
        """
        low, high = recipe.input_low, recipe.input_high
        if not low <= 0 < high:
            raise InputError(f"input range {low:g}…{high:g}: 0, which pads the images, is not in it")
        scale = (high - low) / LEVELS
        zero_pixel = round(-low / scale)
        return cls(scale, zero_pixel - 128, low + zero_pixel * scale)

    @property
    def low(self) -> float:
        """The tensor's real value of the pixel 0."""
        return (-128 - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The tensor's real value of the pixel 255."""
        return (127 - self.zero_point) * self.scale

    def real(self, pixels: Pixels) -> Floats:
        """The tensor's real values of uint8 pixels, float32 of the same shape."""
        quantised = pixels.astype(np.float32) - (128 + self.zero_point)
        return np.asarray(quantised * np.float32(self.scale))


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution with all that follows it.

    Attributes:
        kernel: (h, w, in / groups, out) float32, or (h, w, channels, 1) where `depthwise`.
        bias: (out,) float32.
        padding: rows above and below, and alike columns to the left and right.
        pad_value: what they hold.
        relu6: whether the output is cut to 0…6.
        groups: of channels, each computed from its own inputs alone; where `depthwise`, every channel is one.
    """

    name: str
    kernel: Floats
    bias: Floats
    stride: int = 1
    depthwise: bool = False
    groups: int = 1
    padding: Padding = (0, 0)
    pad_value: float = 0.0
    relu6: bool = True

    def pre_activation(self, x: Any) -> tf.Tensor:
        """The convolution with its bias, of (N, H, W, in) float32."""
        method = "VALID"
        if self.pad_value == 0 and self.padding == same_padding(
            x.shape[1], self.kernel.shape[0], self.stride
        ):
            method = "SAME"  # within the convolution, at no cost
        elif self.padding != (0, 0):
            x = tf.pad(x, ((0, 0), self.padding, self.padding, (0, 0)), constant_values=self.pad_value)
        strides = (1, self.stride, self.stride, 1)
        convolve = tf.nn.depthwise_conv2d if self.depthwise else tf.nn.conv2d
        return tf.nn.bias_add(convolve(x, self.kernel, strides, method), self.bias)

    def __call__(self, x: Any) -> tf.Tensor:
        """The output, (N, H', W', out) float32."""
        y = self.pre_activation(x)
        return tf.nn.relu6(y) if self.relu6 else y


@dataclass(frozen=True, slots=True)
class DeployGraph:
    """The network as a chain; the last layer gives the class activation map.

    Attributes:
        size: side of the input in pixels.
        input: what the int8 tensor means; the chain takes its real values.
    """

    size: int
    input: PixelInput
    layers: tuple[Layer, ...]

    def activation_map(self, x: Any) -> tf.Tensor:
        """(N, h, w, 2) float32, each position's share of the logits of ALL and HEM."""
        for layer in self.layers:
            x = layer(x)
        return x

    def outputs(self, x: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(N, 2) probabilities and (N, h, w, 2) activation map of (N, size, size, 3) real values."""
        evidence = self.activation_map(x)
        return tf.nn.softmax(tf.reduce_mean(evidence, (1, 2))), evidence


def deploy_graph(model: keras.Model, recipe: ModelRecipe) -> DeployGraph:
    """Rebuild a `train.fit.model.mobilenet_m`, equal to it to 1e-5.

    Args:
        recipe: its input range and size.

    Raises:
        LeukoscopeError: the model has a layer that no MobileNet_M has.
        InputError: the input range does not hold 0.
    """
    pool = next((i for i, layer in enumerate(model.layers) if isinstance(layer, _POOLING)), 0)
    layers = _trunk(model.layers[1:pool])
    head = [layer for layer in model.layers[pool + 1 :] if not isinstance(layer, _NOTHING_AT_INFERENCE)]
    _expect(bool(layers), model.layers[-1])
    _expect([type(layer) for layer in head] == _HEAD, model.layers[-1])
    _expect(head[1].activation is keras.activations.softmax, head[1])
    pixel_input = PixelInput.of(recipe)
    layers[0] = _take_offset(layers[0], pixel_input)
    return DeployGraph(recipe.size, pixel_input, (*layers, _map_layer(*head)))


def shifted(graph: DeployGraph, shift: float) -> DeployGraph:
    """The graph with `shift` added to the log-odds of ALL, which moves the threshold at probability 0.5."""
    last = graph.layers[-1]
    moved = replace(last, bias=last.bias + np.array([shift / 2, -shift / 2], np.float32))
    return replace(graph, layers=(*graph.layers[:-1], moved))


def expect_equal(graph: DeployGraph, model: keras.Model, recipe: ModelRecipe, crops: Pixels) -> None:
    """Refuse a rebuilt graph whose outputs differ from its model's.

    Args:
        crops: (N, size, size, 3) uint8 RGB; a few will do.

    Raises:
        LeukoscopeError: a probability differs by more than `TOLERANCE`.
    """
    expected = model.predict(scale_pixels(crops, recipe), verbose=0)
    probabilities, _ = graph.outputs(graph.input.real(crops))
    difference = float(np.abs(probabilities - expected).max())
    if not difference <= TOLERANCE:
        raise LeukoscopeError(
            f"the deploy graph differs from the Keras model by {difference:.2g} in a probability, more than "
            f"{TOLERANCE:g}; is the model a MobileNet_M?"
        )


def for_int8(graph: DeployGraph) -> DeployGraph:
    """The graph as int8 can hold it: the first padding is the nearest whole pixel.

    No tensor holds half a level. Padding with the nearest one moves the outermost row and column by at
    most half a pixel level, if it is rounded at all, and needs no operator.
    """
    first = replace(graph.layers[0], pad_value=0.0)
    return replace(graph, layers=(first, *graph.layers[1:]))


def _expect(fits: bool, layer: keras.Layer) -> None:
    if not fits:
        raise LeukoscopeError(
            f"layer {layer.name} ({type(layer).__name__}) does not belong in a MobileNet_M; "
            "export takes models of train.fit.model.mobilenet_m"
        )


def _trunk(keras_layers: list[Any]) -> list[Layer]:
    """Every convolution with its padding before it and its normalisation and ReLU6 behind it."""
    layers: list[Layer] = []
    pending: Padding = (0, 0)
    for layer in keras_layers:
        match layer:
            case keras.layers.ZeroPadding2D():
                pending, columns = layer.padding
                _expect(pending == columns, layer)
            case keras.layers.Conv2D() | keras.layers.DepthwiseConv2D():
                layers.append(_convolution(layer, pending))
                pending = (0, 0)
            case keras.layers.BatchNormalization():
                _expect(bool(layers), layer)
                layers[-1] = _fold(layers[-1], layer)
            case keras.layers.ReLU():
                _expect(layer.max_value == 6 and not layer.negative_slope and not layer.threshold, layer)
            case _:
                _expect(False, layer)
    return layers


def _convolution(layer: Any, explicit: Padding) -> Layer:
    _expect(layer.activation is keras.activations.linear and layer.dilation_rate == (1, 1), layer)
    smoothed = isinstance(layer, SmoothedConv2D)
    kernel = np.asarray(layer.smoothed_kernel() if smoothed else layer.get_weights()[0])
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    channels = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    bias = np.asarray(layer.get_weights()[1]) if layer.use_bias else np.zeros(channels, np.float32)
    groups = channels if depthwise else layer.groups
    padding = explicit
    if layer.padding == "same":
        _expect(explicit == (0, 0), layer)
        padding = same_padding(layer.input.shape[1], kernel.shape[0], layer.strides[0])
    return Layer(layer.name, kernel, bias, layer.strides[0], depthwise, groups, padding)


def _scale_and_shift(layer: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A batch normalisation as y = scale · x + shift, in double precision."""
    gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in layer.get_weights())
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return scale, beta - mean * scale


def _fold(layer: Layer, normalisation: Any) -> Layer:
    scale, shift = _scale_and_shift(normalisation)
    per_channel = scale[:, np.newaxis] if layer.depthwise else scale
    kernel = (layer.kernel * per_channel).astype(np.float32)
    return replace(layer, kernel=kernel, bias=(layer.bias * scale + shift).astype(np.float32))


def _take_offset(layer: Layer, pixel_input: PixelInput) -> Layer:
    """The first convolution on the tensor's real values in place of the network's own."""
    added = layer.kernel.astype(np.float64).sum((0, 1, 2)) * pixel_input.offset
    bias = (layer.bias + added).astype(np.float32)
    return replace(layer, bias=bias, pad_value=-pixel_input.offset)


def _map_layer(normalisation: Any, dense: Any) -> Layer:
    """Normalisation and dense layer as a 1×1 convolution on the map that the pooling would have averaged.

    What both classes' logits have in common is left out, since it cancels in the softmax.
    """
    scale, shift = _scale_and_shift(normalisation)
    weights, bias = (np.asarray(w, np.float64) for w in dense.get_weights())
    weights, bias = weights - weights.mean(axis=1, keepdims=True), bias - bias.mean()
    kernel = (scale[:, np.newaxis] * weights).astype(np.float32)
    return Layer(
        "activation_map",
        kernel[np.newaxis, np.newaxis],
        (bias + shift @ weights).astype(np.float32),
        relu6=False,
    )
