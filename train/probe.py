"""The head's first weights: a logistic regression on what the pre-trained network sees.

A head that starts at random throws the pre-trained features about before it knows what to ask of them;
one that starts at the best linear answer leaves them as general as they were (LP-FT: Kumar et al. 2022,
arXiv:2202.10054).
"""

from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from edge.frame import Pixels
from train.batches import PlainBatches
from train.dataset import LABELS, Cell, subject_group
from train.recipe import Recipe


def sample_weights(cells: Sequence[Cell], subject_power: float) -> npt.NDArray[np.float64]:
    """What each cell counts: both classes the same, a subject of n cells in proportion to n ** power.

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


def set_head(model: keras.Model, crops: Pixels, cells: Sequence[Cell], recipe: Recipe) -> None:
    """Fit the head to pooled features of the training crops as they are, and put it in its place.

    Args:
        model: `train.model.mobilenet_m`, its MobileNet part pre-trained.
        crops: (N, S, S, 3) uint8 RGB.
        cells: the N cells.
        recipe: `fit.probe_c` is the inverse of the L2 penalty, for features of unit variance.
    """
    features = keras.Model(model.input, model.get_layer("flatten").output)
    seen = np.asarray(features.predict(PlainBatches(crops, cells, recipe.model), verbose=0))
    mean, variance = seen.mean(axis=0), seen.var(axis=0)
    normalisation = model.get_layer("head_bn")
    scaled = (seen - mean) / np.sqrt(variance + normalisation.epsilon)
    weights = sample_weights(cells, recipe.balance.subject_power)
    regression = LogisticRegression(C=recipe.fit.probe_c, max_iter=500)
    regression.fit(scaled, [cell.label == "ALL" for cell in cells], sample_weight=weights)
    ones = np.ones_like(mean)
    normalisation.set_weights([ones, 0 * ones, mean, variance])
    # Half to either class: the softmax of ±z/2 is the logistic function of z.
    half, bias = regression.coef_[0] / 2, regression.intercept_[0] / 2
    model.get_layer("probabilities").set_weights([np.stack([half, -half], axis=1), np.array([bias, -bias])])
