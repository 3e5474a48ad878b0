"""MMA-MTL: Mathur, Piplani, Sawhney, Jindal & Shah 2020, "Mixup Multi-Attention Multi-Task Learning Model for
Early-Stage Leukemia Identification", ICASSP 2020.

Known here are its parts by their names: pointwise attention convolutions, local spatial attention, a second task, and
Rademacher mixup. The article's layer table and parameter count are not open. So this is our reading of the names, and
`PARAMETERS` is our own count, not a published one.

Choices:
- Pointwise attention convolution: a 3×3 convolution, each value weighed by a gate that a 1×1 convolution of the same
  place gives; then batch normalisation.
- Local spatial attention: each place weighed by a gate of the mean and maximum over the channels in its 7×7
  neighbourhood (Woo et al. 2018, arXiv:1807.06521).
- Five stages of both, 32 to 256 filters, each pooled by 2; mean over the positions, dropout of 0.5, dense layer.
- Second task: how much of the picture is cell, which every picture says by itself.
- Rademacher mixup: by the toss of a coin (a Rademacher variable) a batch's pictures stay as they are or are mixed half and
  half with their partners, and the logits alike, so that the labels need not be told.
"""

from typing import Any

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.picture import PictureTask, is_cell
from train.networks.start import entry, started

PARAMETERS = 845_938
"""Of two classes, counted here."""

FILTERS = (32, 64, 128, 192, 256)

SECOND_TASK_WEIGHT = 0.5


@keras.saving.register_keras_serializable("leukoscope")
class RademacherMixup(keras.layers.Layer):  # type: ignore[misc]
    """Mixes two inputs of a network with those of its partner in the batch, both alike, while training.

    Inputs: (N, …) of any shapes. The last picture is the first one's partner.
    """

    def __init__(self, **more: Any):
        super().__init__(**more)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The pictures with a column that says each one's own share; as they are if not training."""
        share = keras.ops.ones((keras.ops.shape(inputs)[0], 1))
        if not training:
            return inputs, share
        coin = keras.random.uniform((1, 1), seed=self.seed_generator)
        share = share * (0.75 + 0.25 * keras.ops.sign(coin - 0.5))
        return mixed(inputs, share), share

    def compute_output_shape(self, shape: Any) -> Any:
        """Of the pictures, and of the shares."""
        return shape, (shape[0], 1)


@keras.saving.register_keras_serializable("leukoscope")
class MixedBack(keras.layers.Layer):  # type: ignore[misc]
    """Mixes the logits as the pictures were, so that each meets its own label."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """(N, classes) logits; as they are if not training."""
        logits, share = inputs
        return mixed(logits, share) if training else logits


@keras.saving.register_keras_serializable("leukoscope")
class CellShare(PictureTask):
    """The second task: how much of the picture is cell."""

    def task_loss(self, picture: Any, judged: list[Any]) -> Any:
        """Mean squared error of (N, 1) shares."""
        share = keras.ops.mean(is_cell(picture, self.low, self.high), axis=(1, 2))
        return keras.ops.mean(keras.ops.square(judged[1][:, 0] - share))


def mixed(values: Any, share: Any) -> Any:
    """Each row with the one as far from the other end, `share` (N, 1) of its own."""
    share = keras.ops.reshape(share, (-1,) + (1,) * (len(values.shape) - 1))
    return share * values + (1 - share) * keras.ops.flip(values, axis=0)


def network(recipe: ModelRecipe, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    pixels = entry(recipe)
    picture, share = RademacherMixup(name="mixup")(pixels)
    x = picture
    for number, filters in enumerate(FILTERS, 1):
        x = _pointwise_attention(x, filters, f"stage{number}")
        x = _spatial_attention(x, f"stage{number}_local")
        x = keras.layers.MaxPooling2D(2, name=f"stage{number}_pool")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    cell = keras.layers.Dense(1, activation="sigmoid", name="cell_share")(x)
    logits = CellShare.of(recipe, SECOND_TASK_WEIGHT, "second_task")([picture, logits, cell])
    logits = MixedBack(name="mixed_back")([logits, share])
    return keras.Model(pixels, keras.layers.Softmax(name="probabilities")(logits), name="mma_mtl")


def _pointwise_attention(x: Any, filters: int, name: str) -> Any:
    seen = keras.layers.Conv2D(
        filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_seen"
    )(x)
    gate = keras.layers.Conv2D(filters, 1, activation="sigmoid", name=f"{name}_gate")(x)
    weighed = keras.layers.Multiply(name=f"{name}_weighed")([seen, gate])
    return keras.layers.BatchNormalization(name=f"{name}_norm")(weighed)


def _spatial_attention(x: Any, name: str) -> Any:
    over_channels = [summed(x, axis=-1, keepdims=True) for summed in (keras.ops.mean, keras.ops.max)]
    around = keras.layers.Concatenate(name=f"{name}_seen")(over_channels)
    gate = keras.layers.Conv2D(1, 7, padding="same", activation="sigmoid", name=f"{name}_gate")(around)
    return keras.layers.Multiply(name=f"{name}_weighed")([x, gate])


def build(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The network for two classes; see `train.networks.start.started`."""
    return started(network(recipe), recipe, weights)
