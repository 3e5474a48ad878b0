"""GoogLeNet: Szegedy et al. 2014, arXiv:1409.4842, table 1.

Choices where the paper is silent or TFLite cannot follow:
- Local response normalisation has no int8 operator in TFLite. Batch normalisation stands in its two places, with four
  parameters a channel of its own.
- The two auxiliary classifiers, which are thrown away after training, are left out: the paper says (version of
  2015) that they gain half a point, and one output is what every recipe trains.
- Weights start as He et al. 2015 have it.
"""

from typing import Any

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.start import entry, started

PARAMETERS = 6_998_552
"""Of 1,000 classes without the auxiliary classifiers, as in Caffe's bvlc_googlenet; the paper's table rounds."""

NORMALISED = (64, 192)
"""Channels of the two batch normalisations, which the count above does not have."""

INCEPTIONS: tuple[tuple[str, tuple[int, ...]] | None, ...] = (
    ("3a", (64, 96, 128, 16, 32, 32)),
    ("3b", (128, 128, 192, 32, 96, 64)),
    None,
    ("4a", (192, 96, 208, 16, 48, 64)),
    ("4b", (160, 112, 224, 24, 64, 64)),
    ("4c", (128, 128, 256, 24, 64, 64)),
    ("4d", (112, 144, 288, 32, 64, 64)),
    ("4e", (256, 160, 320, 32, 128, 128)),
    None,
    ("5a", (256, 160, 320, 32, 128, 128)),
    ("5b", (384, 192, 384, 48, 128, 128)),
)
"""Name, filters of: 1×1; 3×3 reduced, 3×3; 5×5 reduced, 5×5; pooled and projected. None: a pooling between the stages."""


def network(recipe: ModelRecipe, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    pixels = entry(recipe)
    x = _pooled(_convolution(pixels, 64, 7, "conv1", strides=2))
    x = _convolution(keras.layers.BatchNormalization(name="norm1")(x), 64, 1, "conv2_reduced")
    x = _convolution(x, 192, 3, "conv2")
    x = _pooled(keras.layers.BatchNormalization(name="norm2")(x))
    for inception in INCEPTIONS:
        x = _inception(x, *inception) if inception else _pooled(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.4, name="dropout")(x)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(pixels, x, name="googlenet")


def _convolution(x: Any, filters: int, side: int, name: str, strides: int = 1) -> Any:
    return keras.layers.Conv2D(
        filters, side, strides, "same", activation="relu", kernel_initializer="he_normal", name=name
    )(x)


def _pooled(x: Any) -> Any:
    return keras.layers.MaxPooling2D(3, 2, "same")(x)


def _inception(x: Any, name: str, filters: tuple[int, ...]) -> Any:
    """Four ways side by side; for the filters see `INCEPTIONS`."""
    one, reduced3, three, reduced5, five, projected = filters
    ways = [
        _convolution(x, one, 1, f"{name}_1x1"),
        _convolution(_convolution(x, reduced3, 1, f"{name}_3x3_reduced"), three, 3, f"{name}_3x3"),
        _convolution(_convolution(x, reduced5, 1, f"{name}_5x5_reduced"), five, 5, f"{name}_5x5"),
        _convolution(keras.layers.MaxPooling2D(3, 1, "same")(x), projected, 1, f"{name}_projected"),
    ]
    return keras.layers.Concatenate(name=name)(ways)


def build(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The network for two classes; see `train.networks.start.started`."""
    return started(network(recipe), recipe, weights)
