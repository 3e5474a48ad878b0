"""Calibration: threshold and temperature of a model's probabilities, and the band in which it refers a cell.

All are fitted on cells that did not train the model, each patient weighing the same, and on the numbers
that the box itself has: the int8 softmax in steps of 1/256.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from train.evaluate.intervals import Integers, subject_weights
from train.evaluate.metrics import Bools, Floats, weighted_ece

SOFTMAX_STEP = 1 / 256
"""Of TFLite's int8 softmax; the box takes a 0 for half of it (`edge.model.classifier.calibrate`)."""

TEMPERATURES = (0.05, 20.0)
"""Where the best one is looked for; beyond, all probabilities are 0.5, or all are 0 and 1."""

BANDS: tuple[float, ...] = tuple(round(0.5 + 0.005 * step, 3) for step in range(100))
"""Values of refer_below that are tried, 0.5 (nothing is referred) to 0.995; a fit to 1 % of the cells
needs no finer ones."""

_LEAST = 1e-12
"""Of a probability before its logarithm."""

_HARDLY_HELD = 1e6
"""Inverse of the penalty of a regression that has one weight and hundreds of cells."""

LEAST_DECIDED = 0.5
"""Share of either class's cells that a band must leave decided: with fewer, the sensitivity is that of the few
easiest cells, and the box is of no use."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Cells that a model has judged, as the box would at temperature 1.

    Attributes:
        name: of the cells, in words.
        is_all: (N,) bool, the truth.
        logits: (N,) float64, log-odds of ALL.
        patient: (N,) integers, equal where the cells are of one patient.
        new_patients: whether no cell of these patients trained the model that judged them.
    """

    name: str
    is_all: Bools
    logits: Floats
    patient: Integers
    new_patients: bool

    def scores(self, temperature: float) -> Floats:
        """(N,) float64, the probability of ALL that the box gives at a temperature."""
        return _sigmoid(self.logits / temperature)

    def shifted(self, shift: float) -> "Judged":
        """The same cells with a shift added to the log-odds of ALL."""
        return replace(self, logits=self.logits + shift)

    def without(self, patient: int) -> "Judged":
        """All cells but those of one patient."""
        kept = self.patient != patient
        parts = (self.is_all[kept], self.logits[kept], self.patient[kept])
        return Judged(self.name, *parts, self.new_patients)

    def patients(self) -> dict[str, int]:
        """How many there are of each class."""
        sides = {"ALL": self.is_all, "HEM": ~self.is_all}
        return {label: len(np.unique(self.patient[side])) for label, side in sides.items()}


@dataclass(frozen=True, slots=True)
class Point:
    """The effect of one value of refer_below, with equal weight for each patient.

    Attributes:
        refer_below: a cell whose likelier class has less than this is referred.
        coverage: share of the cells that are decided, so not referred.
        risk: share of the decided cells that are wrong; None if none is decided.
        sensitivity, specificity: of the decided cells of ALL and HEM; None if there are none.
        missed: share of all ALL cells that are called HEM.
        decided: the smaller of the shares of ALL and HEM cells that are decided.
    """

    refer_below: float
    coverage: float
    risk: float | None
    sensitivity: float | None
    specificity: float | None
    missed: float
    decided: float


def box_logits(scores: Floats) -> Floats:
    """Log-odds of ALL as the box has them, of the probabilities of ALL of a float model.

    Args:
        scores: (N,) float64, 0…1.
    """
    first, second = (
        np.clip(np.rint(p / SOFTMAX_STEP), 0.5, 255.0) * SOFTMAX_STEP for p in (scores, 1 - scores)
    )
    logits: Floats = np.log(first) - np.log(second)
    return logits


def log_odds(probabilities: Floats) -> Floats:
    """Of probabilities that the box gave, which are never 0 or 1."""
    odds: Floats = np.log(probabilities) - np.log1p(-probabilities)
    return odds


def at_temperature(probabilities: Floats, temperature: float) -> Floats:
    """The box's probabilities at this temperature, from its probabilities at temperature 1."""
    scaled: Floats = _sigmoid(log_odds(probabilities) / temperature)
    return scaled


def moved(probabilities: Floats, shift: float) -> Floats:
    """Probabilities of a float model with a shift added to their log-odds; unchanged if the shift is 0."""
    if not shift:
        return probabilities
    return _sigmoid(log_odds(np.clip(probabilities, _LEAST, 1 - _LEAST)) + shift)


def fit_shift(judged: Judged) -> float:
    """What to add to the log-odds of ALL so that 0.5 lies where the classes meet, to two places (Platt 1999).

    A patient of n cells weighs sqrt(n), as in training: where there are two of a class, one of a few cells would else
    say half. The classes weigh the same. 0 if a class is missing, or if the log-odds do not rise with ALL.
    """
    if judged.is_all.all() or not judged.is_all.any():
        return 0.0
    weights = np.sqrt(subject_weights(judged.patient))
    for side in (judged.is_all, ~judged.is_all):
        weights[side] *= len(weights) / weights[side].sum()
    line = LogisticRegression(C=_HARDLY_HELD).fit(judged.logits[:, np.newaxis], judged.is_all, weights)
    slope = float(line.coef_[0, 0])
    return round(float(line.intercept_[0]) / slope, 2) if slope > 0 else 0.0


def fit_temperature(judged: Judged) -> float:
    """The temperature with the least log loss (Guo et al. 2017, arXiv:1706.04599), to four places.

    The loss is convex in 1 / temperature, so its slope is bisected.
    """
    signed = np.where(judged.is_all, judged.logits, -judged.logits)
    weights = subject_weights(judged.patient)
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(60):
        middle = (low + high) / 2
        slope = -(weights * signed * _sigmoid(-middle * signed)).sum()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return round(2 / (low + high), 4)


def curve(judged: Judged, temperature: float) -> list[Point]:
    """Coverage and risk for every one of `BANDS`."""
    score = judged.scores(temperature)
    return [point(judged, score, np.full(len(score), band), band) for band in BANDS]


def point(judged: Judged, score: Floats, bands: Floats, refer_below: float) -> Point:
    """What comes of a threshold for each cell.

    Args:
        score: (N,) float64, the probability of ALL that the box gives.
        bands: (N,) float64, the cell's refer_below.
        refer_below: to name the point by.
    """
    weight = subject_weights(judged.patient)
    says_all = score >= 0.5
    decided = np.maximum(score, 1 - score) >= bands
    right = says_all == judged.is_all

    def share(part: Bools, whole: Bools) -> float | None:
        total = weight[whole].sum()
        return float(weight[part & whole].sum() / total) if total else None

    everything = np.ones(len(score), np.bool_)
    shares = [share(decided, judged.is_all), share(decided, ~judged.is_all)]
    return Point(
        refer_below=refer_below,
        coverage=share(decided, everything) or 0.0,
        risk=share(~right, decided),
        sensitivity=share(right, decided & judged.is_all),
        specificity=share(right, decided & ~judged.is_all),
        missed=share(decided & ~right, judged.is_all) or 0.0,
        decided=min(value for value in shares if value is not None),
    )


def choose(points: list[Point], sensitivity: float) -> tuple[Point, bool]:
    """The smallest band that reaches a sensitivity on the cells that it leaves decided.

    Args:
        points: of `curve`.

    Returns:
        The band, and whether it does. Where none of those that leave `LEAST_DECIDED` decided does, it is
        the smallest of those that come nearest.
    """
    allowed = [each for each in points if each.decided >= LEAST_DECIDED] or points[:1]
    for each in allowed:
        if (each.sensitivity or 0.0) >= sensitivity:
            return each, True
    return max(allowed, key=lambda each: (each.sensitivity or 0.0, -each.refer_below)), False


def left_out(judged: Judged, sensitivity: float, with_shift: bool) -> Point | None:
    """Every patient under the threshold, the temperature and the band that all the others give, pooled.

    The metrics that `choose` finds on the cells it chose by are slightly optimistic; these are not. None if a
    class has fewer than three patients.
    """
    if min(judged.patients().values()) < 3:
        return None
    score, bands = np.empty(len(judged.logits)), np.empty(len(judged.logits))
    for patient in np.unique(judged.patient):
        others, own = judged.without(patient), judged.patient == patient
        shift = fit_shift(others) if with_shift else 0.0
        others = others.shifted(shift)
        temperature = fit_temperature(others)
        chosen, _ = choose(curve(others, temperature), sensitivity)
        score[own], bands[own] = judged.shifted(shift).scores(temperature)[own], chosen.refer_below
    return point(judged, score, bands, round(float(np.median(bands)), 3))


def fit(judged: Judged, sensitivity: float, made_by: str, *, with_shift: bool = False) -> dict[str, Any]:
    """Threshold, temperature and band, with all that a reader must know of them: the manifest's `calibration`.

    Args:
        sensitivity: the one that is wanted, 0…1.
        made_by: the model that judged the cells, in words.
        with_shift: whether the threshold is fitted too; the network has to be given the same shift.
    """
    apart = left_out(judged, sensitivity, with_shift)
    shift = fit_shift(judged) if with_shift else 0.0
    judged = judged.shifted(shift)
    temperature = fit_temperature(judged)
    points = curve(judged, temperature)
    chosen, reached = choose(points, sensitivity)
    return {
        "cells": judged.name,
        "n": len(judged.is_all),
        "patients": judged.patients(),
        "new_patients": judged.new_patients,
        "judged_by": made_by,
        "shift": shift,
        "temperature": temperature,
        "log_loss": {"before": _log_loss(judged, 1.0), "after": _log_loss(judged, temperature)},
        "ece": {"before": _ece(judged, 1.0), "after": _ece(judged, temperature)},
        "wanted_sensitivity": sensitivity,
        "reached": reached,
        # 0.5 refers nothing, as 0 does; 0 says so.
        "refer_below": chosen.refer_below if chosen.refer_below > BANDS[0] else 0.0,
        "with_band": asdict(chosen),
        "without_band": asdict(points[0]),
        "each_patient_by_the_others": asdict(apart) if apart else None,
    }


def _log_loss(judged: Judged, temperature: float) -> float:
    signed = np.where(judged.is_all, judged.logits, -judged.logits)
    weights = subject_weights(judged.patient)
    return float(np.average(np.logaddexp(0, -signed / temperature), weights=weights))


def _ece(judged: Judged, temperature: float) -> float:
    weights = subject_weights(judged.patient)[np.newaxis]
    return float(weighted_ece(judged.is_all, judged.scores(temperature), weights)[0])


def _sigmoid(x: Floats) -> Floats:
    # exp of a large negative x would overflow.
    value: Floats = np.exp(-np.logaddexp(0, -x))
    return value
