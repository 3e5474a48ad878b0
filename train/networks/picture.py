"""What a picture of a cell on black says of itself, on any backend: where the cell is, and how much of it there is.

So that a detector and a second task can be trained from the class labels that there are.
"""

from typing import Any

import keras

from train.fit.recipe import ModelRecipe

CELL_LEVEL = 20 / 255
"""Of the pixels' range: above it is cell. Noise of sigma 10 on black averages to 4 levels; a cell at 0.4 of its light
has 40 and more."""

BLOCK_PX = 4
"""Pixels are averaged over blocks so wide, so that noise is no cell."""


def is_cell(pixels: Any, low: float, high: float) -> Any:
    """(N, size / 4, size / 4) float32, 1 where a block is of the cell.

    Args:
        pixels: (N, size, size, 3) in the range low…high.
    """
    blocks = keras.ops.average_pool((pixels - low) / (high - low), BLOCK_PX, BLOCK_PX)
    return keras.ops.cast(keras.ops.max(blocks, axis=-1) > CELL_LEVEL, "float32")


def cell_box(pixels: Any, low: float, high: float) -> Any:
    """(N, 4) float32: x and y of the middle, width and height of the cell, as shares of the side.

    The whole picture where nothing of it is black, as in pictures that are no C-NMC cells, and where all is.
    """
    mask = is_cell(pixels, low, high)
    x0, x1 = _ends(keras.ops.max(mask, axis=1))
    y0, y1 = _ends(keras.ops.max(mask, axis=2))
    return keras.ops.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=-1)


def _ends(found: Any) -> tuple[Any, Any]:
    """First and last 1 of each row, as shares of its length."""
    length = found.shape[1]
    first = keras.ops.argmax(found, axis=1)
    last = length - keras.ops.argmax(keras.ops.flip(found, axis=1), axis=1)
    start, end = (keras.ops.cast(each, "float32") / length for each in (first, last))
    return start, end


class PictureTask(keras.layers.Layer):  # type: ignore[misc]
    """A layer with a second loss, of the picture itself, while training; it hands its first input on unchanged.

    Subclasses give `task_loss`. Inputs: the picture first, then what is judged.

    Args:
        low, high: the pixels' range.
        weight: of the loss beside that of the classes.
    """

    def __init__(self, low: float, high: float, weight: float = 1.0, **more: Any):
        super().__init__(**more)
        self.low, self.high, self.weight = low, high, weight

    @classmethod
    def of(cls, recipe: ModelRecipe, weight: float = 1.0, name: str | None = None) -> Any:
        """For a recipe's input range."""
        return cls(recipe.input_low, recipe.input_high, weight, name=name)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What is judged, the first of several."""
        picture, *judged = inputs
        if training:
            self.add_loss(self.weight * self.task_loss(picture, judged))
        return judged[0]

    def task_loss(self, picture: Any, judged: list[Any]) -> Any:
        """The loss of a batch, a scalar."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What a saved model needs to make this again."""
        return {**super().get_config(), "low": self.low, "high": self.high, "weight": self.weight}
