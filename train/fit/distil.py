"""The targets of a student: a teacher's outputs mixed with the labels.

A network fitted to the labels of a few patients learns the patients. Fitted to a teacher's outputs for the same
cells, rotated at random, it learns the teacher's function (Hinton et al. 2015, arXiv:1503.02531; the same
pictures for both: Beyer et al. 2022, arXiv:2106.05237).
"""

from collections.abc import Sequence

import keras
import numpy as np

from edge.imaging.frame import Pixels
from train.data.dataset import Cell, Data
from train.fit import features
from train.fit.batches import Floats, blended, one_hot, variant
from train.fit.recipe import ModelRecipe, Recipe


def taught_targets(
    teacher: keras.Model, its: ModelRecipe, cells: Sequence[Cell], data: Data, recipe: Recipe
) -> Floats:
    """The student's targets for every variant of every cell.

    Args:
        teacher: a `train.fit.model.mobilenet_m` that knows nothing of the patients that will judge.
        its: size, crop and input range of the teacher.
        cells: the student's training cells, in its order.
        data: the data set's folder.
        recipe: the student's.

    Returns:
        (N, variants, 2) float32: probabilities of ALL and HEM, the teacher's softened by
        `distil.temperature`, mixed with the label by `distil.label_share`.
    """
    head = _head(teacher)

    def judged(number: int) -> Floats:
        name = f"variant seed {recipe.fit.seed}, number {number}, {recipe.augment}"

        def picture(crop: Pixels, cell: Cell) -> Pixels:
            return variant(crop, recipe, cell, number)

        pooled = features.load(teacher, its, cells, data, name=name, picture=picture)
        return np.asarray(head.predict(pooled, verbose=0))

    said = np.stack([judged(number) for number in range(recipe.distil.variants)], axis=1)
    return blended(said, one_hot(cells)[:, np.newaxis], recipe.distil)


def _head(model: keras.Model) -> keras.Model:
    """From pooled features (N, features) to probabilities (N, 2)."""
    pooled = keras.Input(model.get_layer("flatten").output.shape[1:])
    return keras.Model(pooled, model.get_layer("probabilities")(model.get_layer("head_bn")(pooled)))
