"""AlexNet: Krizhevsky, Sutskever & Hinton 2012 (NeurIPS 25), section 3, its two halves side by side in one network.

The halves meet where they did on the paper's two GPUs: in the third convolution and in the dense layers.

Choices where the paper is silent or TFLite cannot follow:
- Local response normalisation has no int8 operator in TFLite. Batch normalisation stands in its two places, with four
  parameters a channel of its own.
- The paper's 224 pixels do not come to its 55×55 maps; the input is padded by 2, which does (Caffe takes 227 pixels).
- Weights start as He et al. 2015 have it, in place of a standard deviation of 0.01, which needs ImageNet's million
  pictures to grow from.
"""

from typing import Any

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.start import entry, started

PARAMETERS = 60_965_224
"""Of 1,000 classes at 224 pixels, as in Caffe's bvlc_alexnet; "60 million" in the paper."""

NORMALISED = (96, 256)
"""Channels of the two batch normalisations, which the count above does not have."""


def network(recipe: ModelRecipe, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    pixels = entry(recipe)
    x = keras.layers.ZeroPadding2D(2, name="pad")(pixels)
    x = _convolution(x, 96, 11, "conv1", strides=4, padding="valid")
    x = _pooled(keras.layers.BatchNormalization(name="norm1")(x), "pool1")
    x = _halves(x, 256, 5, "conv2")
    x = _pooled(keras.layers.BatchNormalization(name="norm2")(x), "pool2")
    x = _convolution(x, 384, 3, "conv3")
    x = _halves(x, 384, 3, "conv4")
    x = _halves(x, 256, 3, "conv5")
    x = keras.layers.Flatten(name="flatten")(_pooled(x, "pool5"))
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name=name)(x)
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(pixels, x, name="alexnet")


def _convolution(x: Any, filters: int, side: int, name: str, strides: int = 1, padding: str = "same") -> Any:
    return keras.layers.Conv2D(
        filters, side, strides, padding, activation="relu", kernel_initializer="he_normal", name=name
    )(x)


def _halves(x: Any, filters: int, side: int, name: str) -> Any:
    """A convolution of two groups as two of one: training on a CPU knows no groups."""
    split = keras.ops.split(x, 2, axis=-1)
    each = [_convolution(half, filters // 2, side, f"{name}_{n}") for n, half in enumerate(split, 1)]
    return keras.layers.Concatenate(name=name)(each)


def _pooled(x: Any, name: str) -> Any:
    """Overlapping pooling, 3 wide, 2 apart."""
    return keras.layers.MaxPooling2D(3, 2, name=name)(x)


def build(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The network for two classes; see `train.networks.start.started`."""
    return started(network(recipe), recipe, weights)
