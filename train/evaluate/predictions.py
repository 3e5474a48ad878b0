"""Scores of labelled cells, and all their metrics, as reported by `evaluate` and the cross-validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge.errors import InputError, LeukoscopeError
from train.data.dataset import LABELS, OFFICIAL_CLASSES, Cell, Classes, subject_group
from train.evaluate.intervals import Integers, Resample, intervals, subject_weights
from train.evaluate.metrics import (
    BY_SUBJECT,
    THRESHOLD,
    Bools,
    Floats,
    figures,
    number,
    weighted_auc,
    weighted_figures,
)

Kind = Literal["test split", "every cell", "cross-validation"]
"""What an evaluation was: of one model on a test split or on every cell of a data set, or of a
cross-validation's models, each on patients that it had not seen."""

Which = Literal["test", "other_subjects"]

NoiseOn = Literal["network", "camera"]
"""Which pixels get the noise of a test: those of the network's input, or the camera's own, before the crop is made small,
which averages some of it away."""


@dataclass(frozen=True)
class Predictions:
    """The scores of some cells at one noise level.

    Attributes:
        which: "test" for the test side of a split (or the pooled cells of a cross-validation),
            "other_subjects" for the cells of patients outside the fold that was trained on.
        sigma: of the noise, in 8-bit levels.
        cells: whose crops were scored; both classes if all figures are to be there.
        scores: (N,) float64, the probability of ALL.
        noise_on: which pixels have the noise.
    """

    which: Which
    sigma: float
    cells: Sequence[Cell]
    scores: Floats
    noise_on: NoiseOn = "network"

    @property
    def is_all(self) -> Bools:
        """(N,) bool, the truth."""
        return positives(self.cells)


def positives(cells: Sequence[Cell]) -> Bools:
    """(N,) bool: which cells are of the positive class."""
    return np.array([cell.label == "ALL" for cell in cells], dtype=np.bool_)


def figures_of(cells: Sequence[Cell], scores: Floats, resample: Resample = "subjects") -> dict[str, Any]:
    """All figures of some predictions, as `evaluate --json` prints them for one noise level.

    Args:
        cells: N > 0 cells.
        scores: (N,) float64, the probability of ALL.
        resample: what the intervals draw: "subjects" where the cells are of patients that the model has
            not seen, "cells" where it has trained on other cells of the same patients.

    Returns:
        What `train.evaluate.metrics.figures` gives, and: groups {"ALL": n, "HEM": n}, the number of patients (twin
        subjects count as one); by_subject, the figures with each patient weighing the same within its
        class, with their own intervals, and auc_of_means, of the patients by the mean score of their cells;
        resampled; intervals {figure: [low, high] | None}; where those are drawn by subject, intervals_over_cells
        beside them; per_subject {subject: {label, n, accuracy, mean_score}}; parts, see `parts_of`. JSON-ready:
        None if a figure is not defined.

    Raises:
        InputError: there are no cells.
        LeukoscopeError: a score is not a number.
    """
    if not len(cells):
        raise InputError("no cells to evaluate; give a split whose test list has images")
    scores = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores).all():
        broken = int((~np.isfinite(scores)).sum())
        raise LeukoscopeError(
            f"{broken} of {len(scores)} scores are not numbers; the model is damaged, train it again"
        )
    is_all = positives(cells)
    subject = patients(cells)
    by_subject = resample == "subjects"
    plain_intervals, even_intervals = intervals(is_all, scores, subject, resample)
    return {
        **figures(is_all, scores),
        "groups": {
            "ALL": len(np.unique(subject[is_all])),
            "HEM": len(np.unique(subject[~is_all])),
        },
        "by_subject": _by_subject(is_all, scores, subject) | {"intervals": even_intervals},
        "resampled": resample,
        "intervals": plain_intervals,
        **({"intervals_over_cells": intervals(is_all, scores, subject, "cells")[0]} if by_subject else {}),
        "per_subject": _per_subject(cells, is_all, scores),
        "parts": parts_of(cells, scores),
    }


OUTSIDE_FOLD_0 = "all but fold_0"
"""The patients of fold_0 resemble those of fold_1 and are easy; the others together are the hard part."""


def parts_of(cells: Sequence[Cell], scores: Floats) -> dict[str, dict[str, Any]]:
    """The figures of each part of the data set that the cells are of, and of the hard parts together.

    Returns:
        Of each part: n, groups {"ALL": n, "HEM": n}, auc over cells, by_subject; {} if all are of one part.
    """
    names = np.array([cell.part for cell in cells])
    parts = {str(name): names == name for name in np.unique(names)}
    if len(parts) == 1:
        return {}
    if "fold_0" in parts:
        parts[OUTSIDE_FOLD_0] = names != "fold_0"
    found = {}
    for name, inside in parts.items():
        members = [cell for cell, own in zip(cells, inside, strict=True) if own]
        is_all, subject = positives(members), patients(members)
        plain = weighted_figures(is_all, scores[inside], np.ones((1, len(members))))
        found[name] = {
            "n": len(members),
            "groups": {"ALL": len(np.unique(subject[is_all])), "HEM": len(np.unique(subject[~is_all]))},
            "auc": number(plain["auc"][0]),
            "by_subject": _by_subject(is_all, scores[inside], subject),
        }
    return found


def _by_subject(is_all: Bools, scores: Floats, subject: Integers) -> dict[str, float | None]:
    """The figures with each patient weighing the same, and the AUC of the patients' mean scores."""
    even = weighted_figures(is_all, scores, subject_weights(subject)[np.newaxis])
    _, first, index, cells = np.unique(subject, return_index=True, return_inverse=True, return_counts=True)
    means = np.bincount(index, scores) / cells
    of_means = weighted_auc(is_all[first], means, np.ones((1, len(means))))
    return {name: number(even[name][0]) for name in BY_SUBJECT} | {"auc_of_means": number(of_means[0])}


def rows_of(
    predictions: Sequence[Predictions], resample: Resample, kind: Kind = "test split"
) -> list[dict[str, Any]]:
    """The JSON rows of `evaluate`: one per noise level, in the order of the predictions.

    Args:
        predictions: one "test" and at most one "other_subjects" for each sigma.
        resample: for the test side; other subjects are always resampled by subject.
        kind: of evaluation, kept in each row.
    """
    others = {p.sigma: p for p in predictions if p.which == "other_subjects"}
    rows = []
    for test in (p for p in predictions if p.which == "test"):
        other = others.get(test.sigma)
        rows.append(
            {
                "sigma": test.sigma,
                "noise_on": test.noise_on,
                "kind": kind,
                **figures_of(test.cells, test.scores, resample),
                "other_subjects": figures_of(other.cells, other.scores) if other else None,
            }
        )
    return rows


def named(rows: Sequence[dict[str, Any]], classes: Classes) -> list[dict[str, Any]]:
    """Rows of `rows_of` with the class names that the data set has in place of ALL and HEM."""
    if classes == OFFICIAL_CLASSES:
        return list(rows)
    return [_named(row, classes) for row in rows]


def _named(row: dict[str, Any], classes: Classes) -> dict[str, Any]:
    other = row.get("other_subjects")
    subjects = {
        name: subject | {"label": classes.name(subject["label"])}
        for name, subject in row["per_subject"].items()
    }
    groups = {classes.name(label): row["groups"][label] for label in LABELS}
    changed = row | {"groups": groups, "per_subject": subjects}
    return changed | {"other_subjects": _named(other, classes)} if other else changed


def patients(cells: Sequence[Cell]) -> Integers:
    """(N,) integers, equal where the cells are of one class and of one subject or its twins."""
    keys = np.array([f"{cell.label} {subject_group(cell.subject)}" for cell in cells])
    index: Integers = np.unique(keys, return_inverse=True)[1].astype(np.intp)
    return index


def _per_subject(cells: Sequence[Cell], is_all: Bools, scores: Floats) -> dict[str, dict[str, Any]]:
    names = np.array([cell.subject for cell in cells])
    right = (scores >= THRESHOLD) == is_all
    return {
        str(name): {
            "label": "ALL" if is_all[names == name][0] else "HEM",
            "n": int((names == name).sum()),
            "accuracy": float(right[names == name].mean()),
            "mean_score": float(scores[names == name].mean()),
        }
        for name in np.unique(names)
    }
