"""How the networks of this package begin: at random, from a file, or from Keras' ImageNet weights."""

from collections.abc import Callable
from typing import Any

import keras

from edge.errors import InputError
from train.fit.model import IMAGENET, NO_WEIGHTS, load_weights
from train.fit.recipe import ModelRecipe

IMAGENET_MEANS = (123.68, 116.779, 103.939)
"""Red, green, blue, in 8-bit levels: what Keras' VGG16 and ResNet50 want taken off. They take blue first."""


def entry(recipe: ModelRecipe) -> Any:
    """The input of a network: (N, size, size, 3) float32 in the recipe's range."""
    return keras.Input((recipe.size, recipe.size, 3), name="pixels")


def started(model: keras.Model, recipe: ModelRecipe, weights: str) -> keras.Model:
    """A network that Keras has no ImageNet weights of: random, or as a file has it.

    Args:
        weights: "none", or a file of the whole network: the `best.keras` of a run, or what Keras' `save_weights` wrote.

    Raises:
        InputError: "imagenet", no such file, or it is of another network.
    """
    if weights == IMAGENET:
        raise InputError(
            f"--weights {weights}: Keras has none of {recipe.network}; give a file or {NO_WEIGHTS}"
        )
    if weights != NO_WEIGHTS:
        load_weights(model, weights, lambda: model, recipe.network)
    return model


def convolutions(
    application: Callable[..., keras.Model], recipe: ModelRecipe, weights: str, pixels: Any
) -> keras.Model:
    """A `keras.applications` network without its top.

    Pre-trained weights get the pixels in the range of their training and red first; random ones take them as they are.

    Args:
        application: `keras.applications.VGG16` or `ResNet50`.
        weights: "imagenet" (Keras downloads them, or finds them in its cache), Keras' own file of the network without
            its top, or "none".
        pixels: of `entry`.

    Raises:
        InputError: no such file, or it does not fit.
        LeukoscopeError: the weights cannot be downloaded.
    """
    if weights == NO_WEIGHTS:
        return application(input_tensor=pixels, include_top=False, weights=None)
    level = (recipe.input_high - recipe.input_low) / 255
    offset = [-recipe.input_low / level - mean for mean in IMAGENET_MEANS]
    levels = keras.layers.Rescaling(1 / level, offset, name="imagenet_levels")(pixels)
    base = application(input_tensor=levels, include_top=False, weights=None)
    shape = (recipe.size, recipe.size, 3)
    load_weights(
        base,
        weights,
        lambda: application(input_shape=shape, include_top=False, weights=IMAGENET),
        recipe.network,
    )
    first = next(layer for layer in base.layers if isinstance(layer, keras.layers.Conv2D))
    kernel, *bias = first.get_weights()
    first.set_weights([kernel[:, :, ::-1], *bias])
    return base


def multiple_of_32(recipe: ModelRecipe) -> None:
    """Refuse a size that a detector's maps do not fit to.

    Raises:
        InputError: it is no multiple of 32.
    """
    if recipe.size % 32:
        raise InputError(f"model.size {recipe.size}: {recipe.network} takes multiples of 32")
