"""The figures of a binary classifier with ALL as the positive class."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

CALIBRATION_BINS = 15


def figures(is_all: npt.NDArray[np.bool_], score: npt.NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Everything that `evaluate --json` reports of one set of predictions, without the intervals.

    Args:
        is_all: (N,) bool, the truth.
        score: (N,) float, the probability of ALL; 0.5 and above counts as ALL.

    Returns:
        n, confusion [[tp, fn], [fp, tn]], accuracy, precision, recall, f1, weighted_f1, auc (of the
        scores), balanced_accuracy (which is also the AUC of the hard labels), sensitivity,
        specificity and ece. A figure that needs a class that is not there is None.
    """
    verdict = score >= 0.5
    confusion = metrics.confusion_matrix(is_all, verdict, labels=[True, False])
    (tp, fn), (fp, tn) = confusion.tolist()
    both = tp + fn > 0 and fp + tn > 0
    sensitivity = tp / (tp + fn) if tp + fn else None
    specificity = tn / (tn + fp) if tn + fp else None
    return {
        "n": len(is_all),
        "confusion": [[tp, fn], [fp, tn]],
        "accuracy": (tp + tn) / len(is_all),
        "precision": float(metrics.precision_score(is_all, verdict, zero_division=0)),
        "recall": sensitivity,
        "f1": float(metrics.f1_score(is_all, verdict, zero_division=0)),
        "weighted_f1": float(metrics.f1_score(is_all, verdict, average="weighted", zero_division=0)),
        "auc": float(metrics.roc_auc_score(is_all, score)) if both else None,
        "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ece": expected_calibration_error(is_all, score),
    }


def expected_calibration_error(is_all: npt.NDArray[np.bool_], score: npt.NDArray[np.floating[Any]]) -> float:
    """Mean gap between the confidence and the share that is right, over bins of confidence (Guo 2017).

    Args:
        is_all: (N,) bool.
        score: (N,) float, the probability of ALL.
    """
    confidence = np.maximum(score, 1 - score)
    right = (score >= 0.5) == is_all
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [
        abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).sum()
        for b in np.unique(bins)
    ]
    return float(sum(gaps) / len(score))
