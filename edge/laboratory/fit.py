"""The last layer: a regularised logistic regression on pooled features, and what it gains on cells that were held back.

After the head of LP-FT (Kumar et al. 2022, arXiv:2202.10054): the features stay as they are, the layer on them is new.
"""

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import LeukoscopeError
from edge.laboratory.seen import Seen

STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse of the L2 penalty for features of about unit variance. On patients that were not reviewed the strongest penalty
is best, by up to 9 points of AUC; on more cells of the same patients it loses two at most."""

BASE_WEIGHTS = (20.0, 5.0, 1.0)
"""How readily the base's own log-odds are used: a coefficient on them is penalised by one over the square of this."""

AS_BEFORE = (1e-5, 20.0)
"""Strength and base weight with which the layer says what the base says, of the cells in the training's tone."""

CAUTIOUS = (0.001, 5.0)
"""Strength and base weight where no specimen can be held back to choose them: a choice over cells of the same specimens
sees nothing of what a new one does."""

_TEMPERATURES = np.geomspace(0.02, 8.0, 80)

FOLDS = 5
SEED = 0
_ITERATIONS = 2000

REFER_STEPS = np.arange(0.5, 0.96, 0.01)
WANTED = 0.95
"""Sensitivity and specificity that the cells outside of the referral band shall reach."""

MOST_REFERRED = 0.3
"""No larger share of the cells is referred for it."""

Rows = npt.NDArray[np.intp]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """Strength of the regularisation, and how readily the base's log-odds are used; see STRENGTHS and BASE_WEIGHTS."""

    strength: float
    base_weight: float


@dataclass(frozen=True)
class Layer:
    """Log-odds = weights · features + base_weight · base + bias."""

    weights: npt.NDArray[np.float64]
    base_weight: float
    bias: float

    def log_odds(self, seen: Seen) -> Scores:
        """(N,) of each cell as it lies, the first of its positions."""
        found: Scores = seen.features[:, 0] @ self.weights + self.base_weight * seen.base[:, 0] + self.bias
        return found

    def divided(self, temperature: float) -> "Layer":
        """The same layer, less sure of itself where the temperature is above 1."""
        return Layer(self.weights / temperature, self.base_weight / temperature, self.bias / temperature)


def fit_layer(seen: Seen, choice: Choice) -> Layer:
    """Fit to all cells in all positions; both classes weigh the same.

    Where the training's features are known the layer has no bias of its own: a cell with the training's mean features and
    even odds by the base stays at even odds. So the base's threshold, which was made on many specimens, moves only as far
    as the features of these cells have.
    """
    views = seen.features.shape[1]
    features = seen.features.reshape(-1, seen.features.shape[2]).astype(np.float64)
    base = seen.base.reshape(-1)
    tied = seen.trained is not None
    centre = features.mean(axis=0) if seen.trained is None else seen.trained
    middle = 0.0 if tied else float(base.mean())
    variance = features.var(axis=0)
    # Features that hardly vary are not blown up: each is divided by its own spread and the common one.
    scale = np.sqrt(variance + max(float(variance.mean()), 1e-12))
    base_scale = (float(base.std()) or 1.0) / choice.base_weight
    columns = np.column_stack([(features - centre) / scale, (base - middle) / base_scale])
    regression = _regression(choice.strength / views, bias=not tied)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that stops early is judged like any other
        regression.fit(columns, np.repeat(seen.positive, views))
    weights, base_weight = regression.coef_[0][:-1] / scale, float(regression.coef_[0][-1]) / base_scale
    bias = float(np.sum(regression.intercept_) - weights @ centre - base_weight * middle)
    return Layer(weights, base_weight, bias)


def fit(seen: Seen) -> tuple[Layer, Choice]:
    """Choose strength and base weight by cross-validation within these cells, and fit to all of them."""
    choice = _chosen(seen)
    return fit_layer(seen, choice), choice


def held_back(seen: Seen) -> tuple[Scores, bool]:
    """Log-odds of every cell by a layer that was chosen and fitted without it.

    Returns:
        (N,) log-odds; whether whole specimens were held back, or cells for want of specimens.
    """
    scores = np.zeros(len(seen))
    for train, test in folds(seen):
        scores[test] = fit(seen.of(train))[0].log_odds(seen.of(test))
    return scores, by_specimen(seen)


def by_specimen(seen: Seen) -> bool:
    """Whether each class has two specimens or more, so that one can be held back."""
    return all(len(set(seen.specimen[seen.positive == label])) >= 2 for label in (True, False))


def groups(seen: Seen) -> list[str]:
    """What is held back together: the specimen of each cell, or its own number."""
    if by_specimen(seen):
        return [str(name) for name in seen.specimen]
    return [str(number) for number in range(len(seen))]


def folds(seen: Seen) -> Iterator[tuple[Rows, Rows]]:
    """Training and test rows; both classes are in every training side."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    positive = seen.positive
    if not by_specimen(seen):
        least = int(min(positive.sum(), (~positive).sum()))
        splitter = StratifiedKFold(min(FOLDS, least), shuffle=True, random_state=SEED)
        yield from splitter.split(positive, positive)
        return
    most = min(len(set(seen.specimen[positive == label])) for label in (True, False))
    grouped = StratifiedGroupKFold(min(FOLDS, most), shuffle=True, random_state=SEED)
    for train, test in grouped.split(positive, positive, seen.specimen):
        if len(set(positive[train])) == 2:
            yield train, test
        else:  # specimens of very different sizes: the others must do for these
            yield from _one_by_one(seen, test)


def _one_by_one(seen: Seen, test: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Each specimen of these alone against all others, which hold both classes."""
    everything = np.arange(len(seen))
    for name in sorted(set(seen.specimen[test])):
        mine = seen.specimen == name
        yield everything[~mine], everything[mine]


def _chosen(seen: Seen) -> Choice:
    """By the log loss on held-back cells, which also tells an order that is right but unsure; each choice at its own
    temperature, since a strong penalty gives small log-odds.

    Where specimens are held back, there are few of them: of the choices within a standard error of the best the most
    cautious is taken (Breiman et al. 1984), the strongest penalty and the most weight of the base first.
    """
    known, few = by_specimen(seen), min(seen.positive.sum(), (~seen.positive).sum()) < 3
    if few or (not known and len(set(seen.specimen)) > 1):
        return Choice(*CAUTIOUS)
    every = [AS_BEFORE, *itertools.product(STRENGTHS, BASE_WEIGHTS)]
    choices = [Choice(strength, base) for strength, base in every]
    scores = np.zeros((len(choices), len(seen)))
    for train, test in folds(seen):
        inner, held = seen.of(train), seen.of(test)
        for number, choice in enumerate(choices):
            scores[number, test] = fit_layer(inner, choice).log_odds(held)
    losses = np.array(
        [_cell_losses(each, seen.positive, temperature(each, seen.positive)) for each in scores]
    )
    means = losses.sum(axis=1)
    best = int(means.argmin())
    if not known:
        return choices[best]
    names, place = np.unique(seen.specimen, return_inverse=True)
    beside = (losses - losses[best]) @ np.eye(len(names))[place]  # cells of one specimen err together
    errors = np.sqrt(np.square(beside).sum(axis=1))
    return choices[int(np.flatnonzero(beside.sum(axis=1) <= errors)[0])]


def temperature(scores: Scores, positive: npt.NDArray[np.bool_]) -> float:
    """What log-odds of held-back cells are divided by so that they say how sure they are (Guo et al. 2017)."""
    losses = [float(_cell_losses(scores, positive, float(value)).sum()) for value in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _cell_losses(scores: Scores, positive: npt.NDArray[np.bool_], temperature: float) -> Scores:
    """(N,) log losses, weighted so that both classes weigh the same and all together are their mean.

    The targets are Platt's (1999), a little off 0 and 1: few cells that are told apart without a fault prove no certainty.
    """
    counts = int(positive.sum()), int((~positive).sum())
    targets = np.where(positive, (counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2))
    weights = np.where(positive, 0.5 / counts[0], 0.5 / counts[1])
    sure = scores / temperature
    losses: Scores = weights * (targets * np.logaddexp(0, -sure) + (1 - targets) * np.logaddexp(0, sure))
    return losses


def referral_band(scores: Scores, positive: npt.NDArray[np.bool_]) -> tuple[float, dict[str, Any]]:
    """The smallest probability under which a cell is referred so that the others reach WANTED.

    Args:
        scores: log-odds of held-back cells, at the final temperature.

    Returns:
        The limit, and what it does: sensitivity, specificity, the share referred. Where WANTED is not reached, the
        widest band that refers no more than MOST_REFERRED.
    """
    surest = 1 / (1 + np.exp(-np.abs(scores)))
    best = 0.0, _with_band(scores, positive, surest >= 0)
    for limit in REFER_STEPS:
        told = _with_band(scores, positive, surest >= limit)
        if told["referred"] > MOST_REFERRED:
            break
        best = round(float(limit), 2), told
        if min(told["sensitivity"] or 0.0, told["specificity"] or 0.0) >= WANTED:
            break
    return best


def _with_band(
    scores: Scores, positive: npt.NDArray[np.bool_], decided: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    def share(mine: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_]) -> float | None:
        return round(float(right[mine].mean()), 4) if mine.any() else None

    return {
        "sensitivity": share(positive & decided, scores >= 0),
        "specificity": share(~positive & decided, scores < 0),
        "referred": round(1 - float(decided.mean()), 4),
    }


def _regression(strength: float, bias: bool) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise LeukoscopeError(
            "fitting to reviewed cells needs scikit-learn: pip install 'leukoscope[adapt]'"
        ) from error
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=_ITERATIONS, fit_intercept=bias)
