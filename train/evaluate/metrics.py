"""The metrics of a binary classifier with ALL as the positive class, for any weights of the cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

CALIBRATION_BINS = 15
THRESHOLD = 0.5
"""Threshold: a score at or above it counts as ALL."""

BY_SUBJECT = ("sensitivity", "specificity", "auc", "balanced_accuracy")
"""The figures that are also given with every subject weighing the same."""


def figures(is_all: Bools, score: Floats) -> dict[str, Any]:
    """Everything that `evaluate --json` reports of one set of predictions that knows no subjects.

    Args:
        is_all: (N,) bool, the truth; N > 0.
        score: (N,) float64, the probability of ALL; 0.5 and above counts as ALL.

    Returns:
        n, confusion [[tp, fn], [fp, tn]], accuracy, precision, recall, f1, weighted_f1, auc (of the
        scores), auc_hard_labels (of the verdicts, which is the balanced accuracy), balanced_accuracy,
        average_precision, sensitivity, specificity and ece. A figure that needs a class that is not
        there is None; a precision or F1 of 0 / 0 is 0, as in scikit-learn.
    """
    verdict = score >= THRESHOLD
    tp, fn = int((is_all & verdict).sum()), int((is_all & ~verdict).sum())
    fp, tn = int((~is_all & verdict).sum()), int((~is_all & ~verdict).sum())
    weighted = weighted_figures(is_all, score, np.ones((1, len(score))))
    plain = {name: number(values[0]) for name, values in weighted.items()}
    return {
        "n": len(is_all),
        "confusion": [[tp, fn], [fp, tn]],
        "accuracy": plain["accuracy"],
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": plain["sensitivity"],
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
        "weighted_f1": plain["weighted_f1"],
        "auc": plain["auc"],
        "auc_hard_labels": plain["balanced_accuracy"],
        "balanced_accuracy": plain["balanced_accuracy"],
        "average_precision": average_precision(is_all, score),
        "sensitivity": plain["sensitivity"],
        "specificity": plain["specificity"],
        "ece": plain["ece"],
    }


def macro_means(confusion: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """Precision, recall and F1 as means over both classes, of [[tp, fn], [fp, tn]]; 0 / 0 is 0."""
    precision, recall, f1, _ = precision_recall_fscore_support(
        [1, 1, 0, 0], [1, 0, 1, 0], sample_weight=np.ravel(confusion), average="macro", zero_division=0
    )
    return float(precision), float(recall), float(f1)


def number(value: float) -> float | None:
    """The value for JSON: None if it is NaN."""
    return float(value) if np.isfinite(value) else None


def weighted_figures(is_all: Bools, score: Floats, weights: Floats) -> dict[str, Floats]:
    """The metrics under many weightings of the same cells at once.

    Args:
        is_all: (N,) bool.
        score: (N,) float64.
        weights: (R, N) float64, not negative: how often each cell counts, once a row.

    Returns:
        accuracy, sensitivity, specificity, balanced_accuracy, weighted_f1, auc, ece, each (R,) float64;
        NaN where a class that the figure needs weighs nothing.
    """
    verdict = score >= THRESHOLD
    masks = (is_all & verdict, is_all & ~verdict, ~is_all & verdict, ~is_all & ~verdict)
    tp, fn, fp, tn = (weights @ np.column_stack(masks).astype(np.float64)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        f1_all, f1_hem = (np.nan_to_num(2 * hit / (2 * hit + fp + fn)) for hit in (tp, tn))
        total = tp + fn + fp + tn
        return {
            "accuracy": (tp + tn) / total,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "weighted_f1": ((tp + fn) * f1_all + (fp + tn) * f1_hem) / total,
            "auc": weighted_auc(is_all, score, weights),
            "ece": weighted_ece(is_all, score, weights),
        }


def weighted_auc(is_all: Bools, score: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve: the chance that an ALL cell scores above a HEM cell, ties counting half.

    Args:
        is_all: (N,) bool.
        score: (N,) float64.
        weights: (R, N) float64.

    Returns:
        (R,) float64; NaN where a class weighs nothing.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sorted_weights = weights[:, order]
    # One column for each distinct score, so that ties stand together.
    both = np.add.reduceat(sorted_weights, starts, axis=1)
    positive = np.add.reduceat(sorted_weights * is_all[order], starts, axis=1)
    negative = both - positive
    below = np.cumsum(negative, axis=1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return area


def weighted_ece(is_all: Bools, score: Floats, weights: Floats) -> Floats:
    """Mean gap between the confidence and the share that is correct, over bins of confidence (Guo 2017).

    Args:
        is_all: (N,) bool.
        score: (N,) float64.
        weights: (R, N) float64.

    Returns:
        (R,) float64.
    """
    confidence = np.maximum(score, 1 - score)
    right = (score >= THRESHOLD) == is_all
    gaps = np.zeros((len(score), CALIBRATION_BINS))
    gaps[np.arange(len(score)), calibration_bin(confidence)] = confidence - right
    with np.errstate(invalid="ignore", divide="ignore"):
        gap: Floats = np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
    return gap


def calibration_bin(confidence: Floats) -> npt.NDArray[np.intp]:
    """(N,) integers, the bin of each confidence: bins of equal width over 0…1, the last one closed."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)


def average_precision(is_all: Bools, score: Floats) -> float | None:
    """Area under the precision-recall curve by steps; None without positive cells.

    Args:
        is_all: (N,) bool.
        score: (N,) float64.
    """
    return float(average_precision_score(is_all, score)) if is_all.any() else None
