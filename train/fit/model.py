"""MobileNet_M: MobileNet V1 with the paper's head."""

import re
from pathlib import Path

import keras

from edge.errors import InputError, LeukoscopeError
from train.fit.fused import fused
from train.fit.recipe import ModelRecipe

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
    base = fused(base)
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
    try:
        if weights == IMAGENET:
            source = keras.applications.MobileNet(
                input_shape=base.input_shape[1:], alpha=recipe.alpha, include_top=False, weights=IMAGENET
            )
            base.set_weights(source.get_weights())
            return
        if not Path(weights).is_file():
            raise InputError(f"weights {weights}: no such file; give a file, {IMAGENET} or {NO_WEIGHTS}")
        base.load_weights(weights)
    except (ValueError, KeyError) as error:
        raise InputError(f"weights {weights} do not fit MobileNet {recipe.alpha}: {error}") from error
    except Exception as error:  # Keras raises a bare Exception where its download fails
        if isinstance(error, LeukoscopeError):
            raise
        raise LeukoscopeError(
            f"weights {weights}: {error}; without a network connection, give --weights FILE"
        ) from error
