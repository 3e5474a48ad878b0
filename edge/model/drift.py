"""Drift: how far what the camera shows has moved from what the model, or its adaptation, was made of."""

from collections import deque
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.imaging.colours import FIGURES, Colours

Features = npt.NDArray[np.float32]

WINDOW = 50
"""Cells that a distance is made of: those of one specimen, about."""

LEAST = 20
"""With fewer cells nothing is said."""

THRESHOLD = 1.25
"""Distance from which the picture counts as moved. Of 17 patients of C-NMC with 20 cells or more, each new to the summary, 85
windows of at most 50 cells were at most 1.19 away (median 0.70). Cells of another laboratory (PBC) are 0.90 to 1.03 away:
these the colours tell. `python -m train.studies.drift` measures it."""

COLOUR_THRESHOLD = 1.9
"""The same of the colour figures: the same windows were at most 1.71 away (median 0.80); another
laboratory's (PBC) 4.7 to 8.2."""

_LEAST_SPREAD = 1e-3
_MOST_FEATURES = 8192
_Numbers = Annotated[list[float], msgspec.Meta(max_length=_MOST_FEATURES)]
_Figures = Annotated[list[float], msgspec.Meta(max_length=len(FIGURES))]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a model was made of, in two numbers a feature.

    Attributes:
        mean, spread: of each pooled feature over the cells; the spread is a standard deviation.
        cells: how many.
        threshold: distance from which the picture counts as moved.
        colour_mean, colour_spread: the same of the colour figures (`edge.imaging.colours.FIGURES`) of the cells as the
            camera shows them; empty where they are not known.
        colour_threshold: of their distance.
    """

    mean: _Numbers
    spread: _Numbers
    cells: Annotated[int, msgspec.Meta(ge=1)]
    threshold: Annotated[float, msgspec.Meta(gt=0)] = THRESHOLD
    colour_mean: _Figures = []
    colour_spread: _Figures = []
    colour_threshold: Annotated[float, msgspec.Meta(gt=0)] = COLOUR_THRESHOLD


def summarise(features: npt.NDArray[np.float32], colours: npt.NDArray[np.float32] | None = None) -> Summary:
    """The summary of some cells.

    Args:
        features: (N, F) float32.
        colours: (M, 6) float32, their colour figures where they have any; None where these are not known.
    """
    known = colours is not None and len(colours) > 0
    return Summary(
        mean=_rounded(features.mean(axis=0)),
        spread=_rounded(features.std(axis=0)),
        cells=len(features),
        colour_mean=_rounded(colours.mean(axis=0)) if known and colours is not None else [],
        colour_spread=_rounded(colours.std(axis=0)) if known and colours is not None else [],
    )


def _rounded(values: npt.NDArray[np.floating[Any]]) -> list[float]:
    return [round(float(value), 5) for value in values]


def colour_distances(summary: Summary, mean: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """How far each colour figure is away, in standard deviations; the largest decides.

    Args:
        summary: with colours.
        mean: (6,) of some cells.
    """
    away = np.abs(np.asarray(mean, np.float64) - np.asarray(summary.colour_mean))
    return np.asarray(away / np.maximum(summary.colour_spread, _LEAST_SPREAD))


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
        self._colours: deque[Colours] = deque(maxlen=WINDOW)

    def add(self, features: Features | None, colours: Colours | None = None) -> None:
        """The features of one more cell, (F,) float32, and its colour figures, (6,) float32."""
        if self._summary is not None and features is not None:
            self._recent.append(features)
            if colours is not None:
                self._colours.append(colours)

    def report(self) -> dict[str, Any] | None:
        """For health: distance, threshold, cells, moved, advice, colour; None while there are too few cells."""
        recent = list(self._recent)
        if self._summary is None or len(recent) < LEAST:
            return None
        found, colour = distance(self._summary, np.mean(recent, axis=0)), self._colour(self._summary)
        moved = found > self._summary.threshold or (colour is not None and colour["moved"])
        return {
            "distance": round(found, 3),
            "threshold": round(self._summary.threshold, 3),
            "cells": len(recent),
            "moved": moved,
            "colour": colour,
            "advice": "the cells look different from those that the model knows: review twenty cells"
            if moved
            else "",
        }

    def _colour(self, summary: Summary) -> dict[str, Any] | None:
        """Of the colour figures: the distance of the farthest, its threshold, moved, figure; None if not known."""
        recent = list(self._colours)
        if len(recent) < LEAST or len(summary.colour_mean) != len(FIGURES):
            return None
        away = colour_distances(summary, np.mean(recent, axis=0))
        farthest = int(away.argmax())
        return {
            "distance": round(float(away[farthest]), 3),
            "threshold": round(summary.colour_threshold, 3),
            "moved": bool(away[farthest] > summary.colour_threshold),
            "figure": FIGURES[farthest],
        }
