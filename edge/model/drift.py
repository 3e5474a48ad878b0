"""Drift: how far what the camera shows has moved from what the model, or its adaptation, was made of."""

from collections import deque
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]

WINDOW = 50
"""Cells that a distance is made of: those of one specimen, about."""

LEAST = 20
"""With fewer cells nothing is said."""

THRESHOLD = 1.25
"""Distance from which the picture counts as moved. Of 15 patients of C-NMC with 20 cells or more, each new to the summary, 75
windows of at most 50 cells were at most 1.12 away (median 0.70; of another draw of cells 1.22); lymphocytes and immature granulocytes of another
laboratory (PBC) 1.29 to 1.37. `python -m train.studies.drift` measures it."""

_LEAST_SPREAD = 1e-3
_MOST_FEATURES = 8192
_Numbers = Annotated[list[float], msgspec.Meta(max_length=_MOST_FEATURES)]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a model was made of, in two numbers a feature.

    Attributes:
        mean, spread: of each pooled feature over the cells; the spread is a standard deviation.
        cells: how many.
        threshold: distance from which the picture counts as moved.
    """

    mean: _Numbers
    spread: _Numbers
    cells: Annotated[int, msgspec.Meta(ge=1)]
    threshold: Annotated[float, msgspec.Meta(gt=0)] = THRESHOLD


def summarise(features: npt.NDArray[np.float32], threshold: float = THRESHOLD) -> Summary:
    """The summary of some cells.

    Args:
        features: (N, F) float32.
        threshold: see there.
    """
    return Summary(
        mean=[round(float(value), 5) for value in features.mean(axis=0)],
        spread=[round(float(value), 5) for value in features.std(axis=0)],
        cells=len(features),
        threshold=threshold,
    )


def distance(summary: Summary, mean: npt.NDArray[np.floating[Any]]) -> float:
    """How far a mean over cells is away: the root mean square over the features, in standard deviations of each.

    Args:
        mean: (F,) of some cells. Features that never vary, 0 for most cells, do not count.
    """
    spread = np.asarray(summary.spread)
    counts = spread > _LEAST_SPREAD
    if not counts.any():
        return 0.0
    away = (np.asarray(mean)[counts] - np.asarray(summary.mean)[counts]) / spread[counts]
    return float(np.sqrt(np.mean(np.square(away))))


class Drift:
    """Follows the last cells of a box.

    Args:
        summary: of the model; None if its file has none: then nothing is said.
    """

    def __init__(self, summary: Summary | None):
        self._summary = summary
        self._recent: deque[Features] = deque(maxlen=WINDOW)

    def add(self, features: Features | None) -> None:
        """The features of one more cell, (F,) float32."""
        if self._summary is not None and features is not None:
            self._recent.append(features)

    def report(self) -> dict[str, Any] | None:
        """For health: distance, threshold, cells, moved, advice; None while there are too few cells."""
        recent = list(self._recent)
        if self._summary is None or len(recent) < LEAST:
            return None
        found = distance(self._summary, np.mean(recent, axis=0))
        moved = found > self._summary.threshold
        return {
            "distance": round(found, 3),
            "threshold": round(self._summary.threshold, 3),
            "cells": len(recent),
            "moved": moved,
            "advice": "the cells look different from those that the model knows: review twenty cells"
            if moved
            else "",
        }
