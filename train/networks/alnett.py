"""ALNett: Jawahar, Sharen, Anbarasi & Gandomi 2022, Computers in Biology and Medicine 148:105894.

Known here is what its abstract says: depthwise convolutions with different dilation rates, in clusters of convolution
and max-pooling followed by a normalisation. Layer table and parameter count stand in the article alone, which is not
open. So this is our reading of the abstract, and `PARAMETERS` is our own count, not a published one.

Choices:
- A cluster sees its input through 3×3 depthwise convolutions of dilation 1, 2 and 3 side by side, joins them by a 1×1
  convolution, pools by 2 and normalises. Five clusters, 32 to 512 filters, each twice those before it.
- A 3×3 convolution of 16 filters stands before, since three colours leave a depthwise convolution little to see.
- The mean over the positions, dropout of 0.5 and a dense layer stand behind.
"""

from typing import Any

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.start import entry, started

PARAMETERS = 545_090
"""Of two classes, counted here."""

FILTERS = (32, 64, 128, 256, 512)
DILATIONS = (1, 2, 3)


def network(recipe: ModelRecipe, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    pixels = entry(recipe)
    x = keras.layers.Conv2D(
        16, 3, padding="same", activation="relu", kernel_initializer="he_normal", name="first"
    )(pixels)
    for number, filters in enumerate(FILTERS, 1):
        x = _cluster(x, filters, f"cluster{number}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(pixels, x, name="alnett")


def _cluster(x: Any, filters: int, name: str) -> Any:
    ways = [
        keras.layers.DepthwiseConv2D(
            3,
            padding="same",
            dilation_rate=rate,
            activation="relu",
            depthwise_initializer="he_normal",
            name=f"{name}_dilated{rate}",
        )(x)
        for rate in DILATIONS
    ]
    x = keras.layers.Concatenate(name=f"{name}_ways")(ways)
    x = keras.layers.Conv2D(
        filters, 1, activation="relu", kernel_initializer="he_normal", name=f"{name}_joined"
    )(x)
    x = keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return keras.layers.BatchNormalization(name=f"{name}_norm")(x)


def build(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The network for two classes; see `train.networks.start.started`."""
    return started(network(recipe), recipe, weights)
