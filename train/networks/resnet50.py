"""ResNet-50: He et al. 2015, arXiv:1512.03385, table 1; the convolutions are Keras' own, ImageNet weights too."""

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.start import convolutions, entry

PARAMETERS = 25_636_712
"""Of 1,000 classes, as Keras documents it; its convolutions have biases, which the paper's do not."""


def network(recipe: ModelRecipe, weights: str = NO_WEIGHTS, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    base = convolutions(keras.applications.ResNet50, recipe, weights, entry(recipe))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(base.input, x, name="resnet50")


build = network
