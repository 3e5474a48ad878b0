"""The head's initial weights: a logistic regression on the features of the pre-trained network.

A head with random weights distorts the pre-trained features early in training; one that starts at the best linear
solution preserves them (LP-FT: Kumar et al. 2022,
arXiv:2202.10054).
"""

from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from edge.imaging.frame import Pixels
from train.data.dataset import LABELS, Cell, Data, subject_group
from train.fit import features
from train.fit.augment import add_noise, augment
from train.fit.batches import cell_number
from train.fit.recipe import Recipe


def sample_weights(cells: Sequence[Cell], subject_power: float) -> npt.NDArray[np.float64]:
    """The weight of each cell: equal for both classes, and for a subject of n cells in proportion to n ** power.

    Returns:
        (N,) float64 of mean 1.
    """
    sizes = Counter((cell.label, subject_group(cell.subject)) for cell in cells)
    weights = np.array(
        [sizes[cell.label, subject_group(cell.subject)] ** (subject_power - 1.0) for cell in cells]
    )
    for label in LABELS:
        mine = np.array([cell.label == label for cell in cells])
        weights[mine] *= len(cells) / len(LABELS) / weights[mine].sum()
    return weights


def set_head(model: keras.Model, cells: Sequence[Cell], data: Data, recipe: Recipe) -> None:
    """Fit the head to pooled features of the training cells, and put it in its place.

    The cells are seen as they are and, `fit.probe_passes` times, with the recipe's noise (its levels in
    turn) and augmentation: a frozen network's features move far with little noise.

    Args:
        model: `train.fit.model.mobilenet_m`, its MobileNet part pre-trained.
        cells: the N training cells.
        data: the data set's folder.
        recipe: `fit.probe_c` is the inverse of the L2 penalty, for features of unit variance.
    """
    passes = 1 + recipe.fit.probe_passes
    seen = np.concatenate([_seen(model, cells, data, recipe, turn) for turn in range(passes)])
    mean, variance = seen.mean(axis=0), seen.var(axis=0)
    normalisation = model.get_layer("head_bn")
    scaled = (seen - mean) / np.sqrt(variance + normalisation.epsilon)
    weights = sample_weights(cells, recipe.balance.subject_power) / passes
    regression = LogisticRegression(C=recipe.fit.probe_c, max_iter=500)
    labels = [cell.label == "ALL" for cell in cells]
    regression.fit(scaled, labels * passes, sample_weight=np.tile(weights, passes))
    ones = np.ones_like(mean)
    normalisation.set_weights([ones, 0 * ones, mean, variance])
    # Half to either class: the softmax of ±z/2 is the logistic function of z.
    half, bias = regression.coef_[0] / 2, regression.intercept_[0] / 2
    model.get_layer("probabilities").set_weights([np.stack([half, -half], axis=1), np.array([bias, -bias])])


def _seen(
    model: keras.Model, cells: Sequence[Cell], data: Data, recipe: Recipe, turn: int
) -> npt.NDArray[np.float32]:
    """(N, features) float32 of one pass; the first one takes the crops as they are."""
    if not turn:
        return features.load(model, recipe.model, cells, data, name="plain")
    levels = [sigma for sigma in recipe.noise.sigma_levels if sigma] + [0.0]
    sigma = levels[(turn - 1) % len(levels)]

    def altered(crop: Pixels, cell: Cell) -> Pixels:
        rng = np.random.default_rng([recipe.fit.seed, turn, cell_number(cell), 2])
        return augment(add_noise(crop, sigma, rng), recipe.augment, rng)

    name = f"altered seed {recipe.fit.seed}, turn {turn}, sigma {sigma}, {recipe.augment}"
    return features.load(model, recipe.model, cells, data, name=name, picture=altered)
