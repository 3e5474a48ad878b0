"""How well cells are told apart, with limits, and how sure a gain is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.specimen.intervals import clopper_pearson

DRAWS = 1000
"""Bootstrap draws of specimens, or of cells where there are too few specimens."""

Scores = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """AUC, sensitivity and specificity at a probability of 0.5, each with its 95 % limits."""

    auc: float
    sensitivity: float
    specificity: float
    intervals: dict[str, tuple[float, float]]

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        values = {name: round(getattr(self, name), 4) for name in ("auc", "sensitivity", "specificity")}
        limits = {name: [round(low, 4), round(high, 4)] for name, (low, high) in self.intervals.items()}
        return {**values, "intervals": limits}


class Judged:
    """Two lists of scores of the same cells, compared by the same draws.

    Args:
        positive: (N,) bool.
        groups: (N,) of str, what is drawn: specimens, or each cell its own.
        scores: log-odds by each method, (N,) each.
    """

    def __init__(self, positive: Mask, groups: Sequence[str], *scores: Scores):
        self._positive, self._scores = positive, scores
        names = sorted(set(groups))
        rng = np.random.default_rng(0)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
        place = {name: number for number, name in enumerate(names)}
        # (DRAWS, N): how often each cell is in each draw. Draws without one of the classes say nothing.
        weights = drawn[:, [place[name] for name in groups]].astype(np.float64)
        has_both = (weights[:, positive].sum(axis=1) > 0) & (weights[:, ~positive].sum(axis=1) > 0)
        self._weights = weights[has_both]
        self._once = np.ones((1, len(positive)))

    def figures(self, method: int) -> Figures:
        """Of one list of scores."""
        called = self._scores[method] >= 0
        positive = self._positive
        auc = float(self._auc(method, self._once)[0])
        low, high = np.percentile(self._auc(method, self._weights), (2.5, 97.5))
        hits, rejects = int((called & positive).sum()), int((~called & ~positive).sum())
        return Figures(
            auc,
            float(hits / positive.sum()),
            float(rejects / (~positive).sum()),
            {
                "auc": (float(low), float(high)),
                "sensitivity": clopper_pearson(hits, int(positive.sum())),
                "specificity": clopper_pearson(rejects, int((~positive).sum())),
            },
        )

    def chance_of_gain(self, before: int, after: int) -> float:
        """In which share of the draws the second is better than the first, by the mean of AUC and balanced accuracy."""
        gain = self._worth(after, self._weights) - self._worth(before, self._weights)
        return float((gain > 0).mean()) if len(gain) else 0.0

    def gain(self, before: int, after: int) -> float:
        """The same on all cells."""
        return float((self._worth(after, self._once) - self._worth(before, self._once))[0])

    def _worth(self, method: int, weights: Scores) -> Scores:
        called, positive = self._scores[method] >= 0, self._positive
        sensitivity = weights[:, positive & called].sum(axis=1) / weights[:, positive].sum(axis=1)
        specificity = weights[:, ~positive & ~called].sum(axis=1) / weights[:, ~positive].sum(axis=1)
        worth: Scores = (self._auc(method, weights) + (sensitivity + specificity) / 2) / 2
        return worth

    def _auc(self, method: int, weights: Scores) -> Scores:
        """(D,) AUC under (D, N) weights; ties count half."""
        scores, positive = self._scores[method], self._positive
        above = scores[positive][:, np.newaxis] - scores[~positive][np.newaxis]
        wins = (above > 0) + 0.5 * (above == 0)
        mine, others = weights[:, positive], weights[:, ~positive]
        found: Scores = ((mine @ wins) * others).sum(axis=1) / (mine.sum(axis=1) * others.sum(axis=1))
        return found
