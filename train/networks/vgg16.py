"""VGG16: Simonyan & Zisserman 2014, arXiv:1409.1556, table 1, column D; the convolutions are Keras' own.

Its two dense layers of 4,096 are as published, with the paper's dropout of 0.5, which Keras leaves out. ImageNet weights
are of the convolutions alone; the dense layers start at random. At 224 pixels the int8 network has 134 MB, more than
a box takes (64 MiB).
"""

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.start import convolutions, entry

PARAMETERS = 138_357_544
"""Of 1,000 classes at 224 pixels, as Keras documents it; 138 million in the paper's table 2."""


def network(recipe: ModelRecipe, weights: str = NO_WEIGHTS, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    base = convolutions(keras.applications.VGG16, recipe, weights, entry(recipe))
    x = keras.layers.Flatten(name="flatten")(base.output)
    for name in ("fc1", "fc2"):
        x = keras.layers.Dense(4096, activation="relu", name=name)(x)
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(base.input, x, name="vgg16")


build = network
