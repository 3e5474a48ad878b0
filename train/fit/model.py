"""MobileNet_M: MobileNet V1 with the paper's head; and the network that a recipe names."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import keras

from edge.errors import InputError, LeukoscopeError
from train.fit.layers import with_own_layers
from train.fit.recipe import MOBILENET_M, ModelRecipe

IMAGENET, NO_WEIGHTS = "imagenet", "none"

# MobileNet's blocks by the names of their layers: the first convolution is block 0, the head comes last.
_BLOCK = re.compile(r"conv_(?:pad|dw|pw)_(\d+)")
HEAD_BLOCK = 14


def block_of(name: str) -> int:
    """Depth of a MobileNet layer or variable: 0 first convolution, 1 to 13 the blocks, 14 the head."""
    if name.startswith("conv1"):
        return 0
    match = _BLOCK.match(name)
    return int(match[1]) if match else HEAD_BLOCK


def module_of(network: str) -> ModuleType:
    """The module of a network, of `train.networks`, which stands above this package.

    Importing it makes its layers known to Keras, which reads a saved model by their names.
    """
    return importlib.import_module(f"train.networks.{network}")


def network(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The network that a recipe names.

    Args:
        recipe: its name and input size, and all that the network has of it.
        weights: see `mobilenet_m`; of a rival's own network, or of its convolutions in Keras.

    Returns:
        A model from (N, size, size, 3) float32 to (N, 2) float32: the probabilities of ALL and HEM.

    Raises:
        InputError: the weights do not fit the network, the recipe asks of it what only a MobileNet has, or the size
            is too small for it.
        LeukoscopeError: the weights cannot be downloaded.
    """
    if recipe.network == MOBILENET_M:
        return mobilenet_m(recipe, weights)
    if recipe.frozen_blocks:
        raise InputError(f"model.frozen_blocks: {recipe.network} has none of MobileNet's blocks; give 0")
    try:
        model: keras.Model = module_of(recipe.network).build(recipe, weights)
    except ValueError as error:  # Keras: a pooling has nothing left to pool
        raise InputError(f"model.size {recipe.size}: too small for {recipe.network} ({error})") from error
    normalisations = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    model = with_own_layers(model) if normalisations else model
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe.bn_momentum
    return model


def mobilenet_m(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The paper's network: MobileNet V1 → pooling → dropout → batch normalisation → dense softmax with L1.

    At width 1.0 it has 3,235,010 parameters, 23,936 of them not trainable. All layers are trained.

    Args:
        recipe: width, input size, dropout rate and L1 factor.
        weights: of the MobileNet part: a file, "imagenet" (Keras downloads them, or finds them in its
            own cache) or "none" for random ones.

    Returns:
        A model from (N, size, size, 3) float32 to (N, 2) float32: the probabilities of ALL and HEM.

    Raises:
        InputError: the weights do not fit the network.
        LeukoscopeError: they cannot be downloaded.
    """
    base = keras.applications.MobileNet(
        input_shape=(recipe.size, recipe.size, 3), alpha=recipe.alpha, include_top=False, weights=None
    )
    if weights != NO_WEIGHTS:
        _load_weights(base, recipe, weights)
    base = with_own_layers(base, recipe.smooth_passes)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe.bn_momentum
        if block_of(layer.name) < recipe.frozen_blocks:
            layer.trainable = False
    x = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dropout(recipe.dropout, name="dropout")(x)
    x = keras.layers.BatchNormalization(momentum=recipe.bn_momentum, name="head_bn")(x)
    x = keras.layers.Dense(
        2,
        activation="softmax",
        kernel_initializer="random_uniform",
        kernel_regularizer=keras.regularizers.L1(recipe.l1),
        name="probabilities",
    )(x)
    return keras.Model(base.input, x, name="mobilenet_m")


def _load_weights(base: keras.Model, recipe: ModelRecipe, weights: str) -> None:
    def imagenet() -> keras.Model:
        return keras.applications.MobileNet(
            input_shape=base.input_shape[1:], alpha=recipe.alpha, include_top=False, weights=IMAGENET
        )

    load_weights(base, weights, imagenet, f"MobileNet {recipe.alpha}")


def load_weights(model: keras.Model, weights: str, imagenet: Callable[[], keras.Model], name: str) -> None:
    """Give a model the weights of a file, or Keras' own.

    Args:
        weights: a file, or "imagenet".
        imagenet: the same network as Keras downloads it.
        name: of the network, for messages.

    Raises:
        InputError: no such file, or it is of another network.
        LeukoscopeError: the weights cannot be downloaded.
    """
    try:
        if weights == IMAGENET:
            model.set_weights(imagenet().get_weights())
            return
        if not Path(weights).is_file():
            raise InputError(f"weights {weights}: no such file; give a file, {IMAGENET} or {NO_WEIGHTS}")
        model.load_weights(weights)
    except (ValueError, KeyError) as error:
        raise InputError(f"weights {weights} do not fit {name}: {error}") from error
    except Exception as error:  # Keras raises a bare Exception where its download fails
        if isinstance(error, LeukoscopeError):
            raise
        raise LeukoscopeError(
            f"weights {weights}: {error}; without a network connection, give --weights FILE"
        ) from error
