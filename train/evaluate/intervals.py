"""How far the metrics would change with other cells or other patients: percentile bootstrap intervals."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from train.evaluate.metrics import BY_SUBJECT, Bools, Floats, number, weighted_figures

Resample = Literal["subjects", "cells"]
Interval = list[float] | None
Integers = npt.NDArray[np.intp]

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0
_BLOCK = 200
"""Resamples that are weighed at once; 200 x 10,661 cells are 17 MB an array."""


def intervals(
    is_all: Bools,
    score: Floats,
    subject: Integers,
    resample: Resample,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """95 % percentile bootstrap intervals (Efron 1979), resampled within each class.

    Cells of one patient are alike, so resampling cells shows how far the metrics would change with other cells of the
    same patients; only resampling subjects shows it for other patients (cluster
    bootstrap, Field & Welsh 2007). With few subjects both are too narrow.

    Args:
        is_all: (N,) bool.
        score: (N,) float64.
        subject: (N,) integers, equal where the cells are of one patient and class.
        resample: what is drawn.
        resamples: how often.
        seed: of the draws.

    Returns:
        The intervals [low, high] of `weighted_figures`, and those of `BY_SUBJECT` where each subject
        weighs the same. None if the metric is undefined, or if it depends on a class with only one unit to draw,
        which shows no spread.
    """
    rng = np.random.default_rng(seed)
    units = subject if resample == "subjects" else np.arange(len(score), dtype=np.intp)
    drawn: list[dict[str, Floats]] = []
    drawn_by_subject: list[dict[str, Floats]] = []
    for start in range(0, resamples, _BLOCK):
        weights = _draw(is_all, units, min(_BLOCK, resamples - start), rng)
        drawn.append(weighted_figures(is_all, score, weights))
        even = weights * subject_weights(subject) if resample == "subjects" else _even(weights, subject)
        drawn_by_subject.append(weighted_figures(is_all, score, even))
    known = _known(is_all, units)
    ones = np.ones((1, len(score)))
    return (
        _percentiles(drawn, weighted_figures(is_all, score, ones), known),
        {
            name: interval
            for name, interval in _percentiles(
                drawn_by_subject, weighted_figures(is_all, score, ones * subject_weights(subject)), known
            ).items()
            if name in BY_SUBJECT
        },
    )


def paired_intervals(
    is_all: Bools,
    first: Floats,
    other: Floats,
    subject: Integers,
    resample: Resample,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, tuple[float | None, Interval]]:
    """How two models differ on the same cells: other less first, and where that lies with other patients or cells.

    Each resample judges both models on the same draw, so what makes a draw easy for both falls away.

    Args:
        is_all: (N,) bool.
        first, other: (N,) float64, their scores.
        subject: (N,) integers, equal where the cells are of one patient and class.
        resample: what is drawn, within each class.
        resamples: how often.
        seed: of the draws.

    Returns:
        Of each figure of `weighted_figures` but the calibration error: the difference, None if it is not defined,
        and its 95 % percentile bootstrap interval; None as in `intervals`.
    """
    rng = np.random.default_rng(seed)
    units = subject if resample == "subjects" else np.arange(len(first), dtype=np.intp)

    def differences(weights: Floats) -> dict[str, Floats]:
        both = [weighted_figures(is_all, score, weights) for score in (other, first)]
        return {name: both[0][name] - both[1][name] for name in both[0] if name != "ece"}

    drawn = [
        differences(_draw(is_all, units, min(_BLOCK, resamples - start), rng))
        for start in range(0, resamples, _BLOCK)
    ]
    point = differences(np.ones((1, len(first))))
    found = _percentiles(drawn, point, _known(is_all, units))
    return {name: (number(values[0]), found[name]) for name, values in point.items()}


def subject_weights(subject: Integers) -> Floats:
    """(N,) float64: one over the number of cells of each cell's subject, so that subjects weigh the same.

    Args:
        subject: (N,) integers, equal where the cells are of one patient and class.
    """
    _, index, counts = np.unique(subject, return_inverse=True, return_counts=True)
    weights: Floats = 1.0 / counts[index]
    return weights


def _draw(is_all: Bools, units: Integers, resamples: int, rng: np.random.Generator) -> Floats:
    """(R, N) float64: how often each cell is in each resample; whole units, class by class."""
    weights = np.zeros((resamples, len(units)))
    for of_class in (is_all, ~is_all):
        names, index = np.unique(units[of_class], return_inverse=True)
        if len(names):
            picks = rng.integers(len(names), size=(resamples, len(names)))
            picks += np.arange(resamples)[:, np.newaxis] * len(names)
            counts = np.bincount(picks.ravel(), minlength=resamples * len(names))
            weights[:, of_class] = counts.reshape(resamples, len(names))[:, index]
    return weights


def _even(weights: Floats, subject: Integers) -> Floats:
    """The same weights, normalised to sum 1 for each subject that is drawn."""
    names, index = np.unique(subject, return_inverse=True)
    belongs = np.zeros((len(subject), len(names)))
    belongs[np.arange(len(subject)), index] = 1.0
    sums = weights @ belongs
    return weights / np.maximum(sums, 1e-9)[:, index]


def _known(is_all: Bools, units: Integers) -> dict[str, bool]:
    """Whether there is more than one unit of each class that a metric depends on."""
    count_all, count_hem = len(np.unique(units[is_all])), len(np.unique(units[~is_all]))
    return {"sensitivity": count_all > 1, "specificity": count_hem > 1, "": 1 not in (count_all, count_hem)}


def _percentiles(
    drawn: list[dict[str, Floats]], point: dict[str, Floats], known: dict[str, bool]
) -> dict[str, Interval]:
    tail = (1 - LEVEL) / 2
    found: dict[str, Interval] = {}
    for name, value in point.items():
        values = np.concatenate([block[name] for block in drawn])
        values = values[np.isfinite(values)]
        if not len(values) or not np.isfinite(value[0]) or not known.get(name, known[""]):
            found[name] = None
            continue
        low, high = np.quantile(values, [tail, 1 - tail])
        if name == "ece":
            # A resample's bins are noisier than the sample's, which only ever widens the gaps.
            shift = np.median(values) - value[0]
            low, high = max(low - shift, 0.0), high - shift
        found[name] = [float(low), float(high)]
    return found
