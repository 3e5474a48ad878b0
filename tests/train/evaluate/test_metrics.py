"""Figures against hand-made examples and scikit-learn; intervals against what they promise."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from train.evaluate import paper
from train.evaluate.intervals import intervals, subject_weights
from train.evaluate.metrics import (
    average_precision,
    figures,
    macro_means,
    weighted_auc,
    weighted_ece,
    weighted_figures,
)

RNG = np.random.default_rng(0)


def test_the_figures_of_eight_cells_counted_by_hand() -> None:
    is_all = np.array([1, 1, 1, 1, 1, 0, 0, 0], bool)
    score = np.array([0.9, 0.8, 0.5, 0.4, 0.7, 0.6, 0.1, 0.2])
    found = figures(is_all, score)
    assert found["confusion"] == [[4, 1], [1, 2]]
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert (
        found["precision"] == found["recall"] == found["sensitivity"] == found["f1"] == pytest.approx(4 / 5)
    )
    assert found["specificity"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == found["auc_hard_labels"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["auc"] == pytest.approx(13 / 15)  # 15 pairs, of which 0.5 < 0.6 and 0.4 < 0.6 are wrong
    assert found["weighted_f1"] == pytest.approx((5 * 0.8 + 3 * 2 / 3) / 8)


def test_the_papers_rows_are_means_over_both_classes() -> None:
    assert macro_means([[4, 1], [1, 2]]) == pytest.approx(((4 / 5 + 2 / 3) / 2,) * 3)
    assert macro_means([[5, 0], [3, 0]]) == pytest.approx(((5 / 8) / 2, 1 / 2, (10 / 13) / 2))
    for row in paper.RESULTS[1].values():
        reported = (row.precision, row.recall, row.f1, row.accuracy)
        as_means = as_all = 0
        for fn in range(73):
            for fp in range(60):
                tp, tn = 485 - fn, 233 - fp  # the test side of fold 1
                accuracy = round((tp + tn) / 718, 2)
                of_all = tp / (tp + fp), tp / 485, 2 * tp / (2 * tp + fp + fn)
                as_all += (*np.round(of_all, 2), accuracy) == reported
                if accuracy == row.accuracy and round((tp / 485 + tn / 233) / 2, 3) == row.auc:
                    as_means += (*np.round(macro_means([[tp, fn], [fp, tn]]), 2), accuracy) == reported
        assert as_means and not as_all


def test_every_figure_is_scikit_learns_ties_and_weights_included() -> None:
    for _ in range(20):
        is_all = RNG.random(60) < 0.6
        score = np.round(RNG.random(60), 1)
        weights = RNG.integers(0, 4, (3, 60)).astype(float)
        weights[:, np.flatnonzero(is_all)[0]] = weights[:, np.flatnonzero(~is_all)[0]] = 1
        verdict = score >= 0.5
        ours = weighted_figures(is_all, score, weights)
        for row, weight in enumerate(weights):
            expected = {
                "auc": sklearn_metrics.roc_auc_score(is_all, score, sample_weight=weight),
                "accuracy": sklearn_metrics.accuracy_score(is_all, verdict, sample_weight=weight),
                "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(
                    is_all, verdict, sample_weight=weight
                ),
                "weighted_f1": sklearn_metrics.f1_score(
                    is_all, verdict, average="weighted", sample_weight=weight
                ),
            }
            assert {name: ours[name][row] for name in expected} == pytest.approx(expected)
        plain = figures(is_all, score)
        assert plain["average_precision"] == pytest.approx(
            sklearn_metrics.average_precision_score(is_all, score)
        )
        assert plain["auc_hard_labels"] == pytest.approx(sklearn_metrics.roc_auc_score(is_all, verdict))
        assert plain["precision"] == pytest.approx(
            sklearn_metrics.precision_score(is_all, verdict, zero_division=0)
        )


def test_scores_that_are_all_the_same_are_guessing() -> None:
    is_all = np.array([True, True, False])
    assert weighted_auc(is_all, np.full(3, 0.7), np.ones((1, 3)))[0] == 0.5
    assert average_precision(is_all, np.full(3, 0.7)) == pytest.approx(2 / 3)


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    # Four cells at confidence 0.9, half of them right; one at 0.6 that is right.
    is_all = np.array([True, True, False, False, True])
    score = np.array([0.9, 0.9, 0.9, 0.9, 0.6])
    expected = 4 / 5 * abs(0.9 - 0.5) + 1 / 5 * abs(0.6 - 1)
    assert weighted_ece(is_all, score, np.ones((1, 5)))[0] == pytest.approx(expected)
    doubled = np.array([[1.0, 1, 1, 1, 2]])
    assert weighted_ece(is_all, score, doubled)[0] == pytest.approx(4 / 6 * 0.4 + 2 / 6 * 0.4)


def test_a_class_that_is_not_there_leaves_its_figures_open() -> None:
    found = figures(np.zeros(3, bool), np.array([0.1, 0.9, 0.2]))
    assert found["specificity"] == pytest.approx(2 / 3)
    missing = ("recall", "sensitivity", "auc", "auc_hard_labels", "balanced_accuracy", "average_precision")
    assert all(found[name] is None for name in missing)
    plain, even = intervals(np.zeros(3, bool), np.array([0.1, 0.9, 0.2]), np.arange(3), "subjects")
    assert plain["auc"] is None and plain["sensitivity"] is None and even["balanced_accuracy"] is None
    assert plain["specificity"] == [0.0, 1.0]


def test_one_patient_of_a_class_gives_no_interval_where_patients_are_drawn() -> None:
    is_all = np.array([True] * 6 + [False] * 6)
    score = np.tile([0.9, 0.2, 0.6], 4)
    subject = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    plain, even = intervals(is_all, score, subject, "subjects")
    assert plain["specificity"] is plain["auc"] is plain["accuracy"] is even["specificity"] is None
    assert plain["sensitivity"] is not None
    by_cell, _ = intervals(is_all, score, subject, "cells")
    assert by_cell["specificity"] is not None


def alike_cells(rng: np.random.Generator, subjects: int, cells: int) -> tuple[np.ndarray, ...]:
    """Patients of both classes, each with its own share of right cells, 0.8 on average."""
    share = rng.beta(4, 1, 2 * subjects)
    subject = np.repeat(np.arange(2 * subjects), cells)
    is_all = subject < subjects
    right = rng.random(len(subject)) < share[subject]
    return is_all, np.where(right == is_all, 0.9, 0.1), subject


def test_drawing_patients_is_wider_than_drawing_cells_that_agree() -> None:
    is_all, score, subject = alike_cells(np.random.default_rng(1), 15, 40)
    width = {}
    for resample in ("subjects", "cells"):
        low, high = intervals(is_all, score, subject, resample)[0]["sensitivity"]
        width[resample] = high - low
    assert width["subjects"] > 2 * width["cells"]


def test_intervals_by_patient_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    held = {"subjects": 0, "cells": 0}
    for trial in range(100):
        is_all, score, subject = alike_cells(rng, 30, 8)
        for resample in held:
            plain, _ = intervals(is_all, score, subject, resample, resamples=200, seed=trial)
            low, high = plain["specificity"]
            held[resample] += low <= 0.8 <= high
    assert 0.88 <= held["subjects"] / 100 <= 0.99
    assert held["cells"] / 100 < 0.85  # which is why cells are not drawn where patients are new


def test_intervals_are_the_same_again_and_hold_the_figure() -> None:
    is_all, score, subject = alike_cells(np.random.default_rng(3), 10, 10)
    score = np.clip(score + RNG.normal(0, 0.05, len(score)), 0, 1)
    first = intervals(is_all, score, subject, "subjects")
    assert first == intervals(is_all, score, subject, "subjects")
    found = figures(is_all, score)
    assert all(low <= found[name] <= high for name, (low, high) in first[0].items())


def test_each_patient_weighs_the_same() -> None:
    is_all = np.array([True] * 4 + [False] * 3)
    score = np.array([0.9, 0.9, 0.9, 0.1, 0.2, 0.2, 0.8])
    subject = np.array([0, 0, 0, 1, 2, 2, 3])
    even = weighted_figures(is_all, score, subject_weights(subject)[np.newaxis])
    assert even["sensitivity"][0] == pytest.approx(1 / 2)  # 3 of 4 cells, but 1 of 2 patients
    assert even["specificity"][0] == pytest.approx(1 / 2)
    # Pairs of patients: 0.9 is above both; 0.1 is below both.
    assert even["auc"][0] == pytest.approx(1 / 2)
