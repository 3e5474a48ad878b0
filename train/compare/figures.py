"""What several runs say of the same cells, and how they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edge.errors import InputError
from train.compare.cells import SharedCells
from train.data.dataset import Cell, DataSet
from train.evaluate import camera
from train.evaluate.evaluation import Scorer, load_scorer, score_cells
from train.evaluate.intervals import Resample, paired_intervals
from train.evaluate.metrics import Floats, figures, macro_means
from train.evaluate.predictions import figures_of, patients, positives
from train.fit.model import NO_WEIGHTS
from train.fit.run import Run

TEST, NEW = "test cells", "new patients"

DIFFERENCES = ("accuracy", "weighted_f1", "auc", "balanced_accuracy", "sensitivity", "specificity")
"""The figures whose differences are given."""


@dataclass(frozen=True)
class Contestant:
    """One run and what it says.

    Attributes:
        name: of its folder.
        scorer: its network.
        facts: network, weights, recipe, input size, epochs, best epoch, images, seconds an epoch; JSON-ready.
        rows: of each set of cells, by `TEST` and `NEW`, one row a noise level: `train.evaluate.metrics.figures` and
            macro_precision, macro_recall, macro_f1; the first has intervals, groups and by_subject too.
        scores: of each set of cells, (N,) float64 without noise, the probability of ALL.
        suite: of `train.evaluate.camera.judge`, on the new patients if there are any.
        cost: parameters, and what the int8 file takes; see `export.compare`.
    """

    name: str
    scorer: Scorer
    facts: dict[str, Any]
    rows: dict[str, list[dict[str, Any]]]
    scores: dict[str, Floats]
    suite: Mapping[str, camera.Figures] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)


def contestant(run: Run, name: str, data: DataSet, cells: SharedCells, levels: Sequence[float]) -> Contestant:
    """Judge one run; its suite is empty, see `with_suites`.

    Args:
        name: as it is to be called.
        data: that the cells are of.
        levels: sigmas of the noise in 8-bit levels, the first for the intervals and differences.

    Raises:
        InputError: the run has not finished an epoch.
    """
    scorer, _ = load_scorer(run.folder)
    if scorer.classes != data.classes:
        raise InputError(
            f"{run.folder}: learnt {scorer.classes.names()}, the data are {data.classes.names()}"
        )
    sets: dict[str, tuple[list[Cell], Resample]] = {
        TEST: (cells.test, "cells" if cells.same_patients else "subjects")
    }
    if cells.new_patients:
        sets[NEW] = (cells.new_patients, "subjects")
    rows, scores = {}, {}
    for which, (members, resample) in sets.items():
        made = [score_cells(scorer, data, members, sigma) for sigma in levels]
        scores[which] = made[0]
        rows[which] = [figures_of(members, made[0], resample) | {"sigma": levels[0]}]
        rows[which] += [
            figures(positives(members), each) | {"sigma": sigma}
            for sigma, each in zip(levels[1:], made[1:], strict=True)
        ]
        for row in rows[which]:
            row |= dict(
                zip(
                    ("macro_precision", "macro_recall", "macro_f1"),
                    macro_means(row["confusion"]),
                    strict=True,
                )
            )
    return Contestant(name, scorer, _facts(run, scorer), rows, scores)


def with_suites(contestants: Sequence[Contestant], data: DataSet, cells: SharedCells) -> list[Contestant]:
    """Each with its camera suite, on new patients where there are any; networks of the same crop see the same pictures."""
    suites: dict[str, dict[str, camera.Figures]] = {}
    for geometry in {each.scorer.geometry for each in contestants}:
        alike = [each for each in contestants if each.scorer.geometry == geometry]
        scores = [each.scorer.score for each in alike]
        found = camera.judge_several(scores, geometry, data.root, cells.new_patients or cells.test)
        suites |= {each.name: suite for each, suite in zip(alike, found, strict=True)}
    return [replace(each, suite=suites[each.name]) for each in contestants]


def _facts(run: Run, scorer: Scorer) -> dict[str, Any]:
    recipe, progress, environment = run.recipe(), run.progress(), run.environment()
    seconds = [row["seconds"] for row in progress.history] if progress else []
    weights = str(environment.get("weights") or NO_WEIGHTS)
    return {
        "network": recipe.model.network,
        "alpha": recipe.model.alpha if recipe.model.network == "mobilenet_m" else None,
        "weights": "random" if weights == NO_WEIGHTS else weights.rsplit("/", 1)[-1],
        "recipe": scorer.training["recipe"],
        "size": recipe.model.size,
        "crop": recipe.model.crop,
        "epochs": scorer.training["epochs"],
        "best_epoch": scorer.training["best_epoch"],
        "planned_epochs": recipe.fit.epochs,
        "images": len(run.split().train),
        "limit": environment.get("limit"),
        "seconds_an_epoch": float(np.median(seconds)) if seconds else None,
        "command": environment.get("command", ""),
    }


def differences(contestants: Sequence[Contestant], cells: SharedCells) -> list[dict[str, Any]]:
    """Each run less the first one, on each set of cells, with paired intervals.

    Returns:
        For each pair and set: run, less, cells, n, patients {"ALL": n, "HEM": n}; of each figure of `DIFFERENCES`:
        difference, interval over patients, interval over cells (None if it is not defined).
    """
    first, *others = contestants
    found = []
    for other in others:
        for which, members in ((TEST, cells.test), (NEW, cells.new_patients)):
            if members:
                row = {"run": other.name, "less": first.name, "cells": which, "n": len(members)}
                found.append(row | difference(members, first.scores[which], other.scores[which]))
    return found


def difference(members: Sequence[Cell], first: Floats, other: Floats) -> dict[str, Any]:
    """How two runs differ on the same cells: other less first, see `differences`: its patients and figures.

    Args:
        first, other: (N,) float64, their scores of the N cells.
    """
    is_all, subject = positives(members), patients(members)
    by_patient = paired_intervals(is_all, first, other, subject, "subjects")
    by_cell = paired_intervals(is_all, first, other, subject, "cells")
    return {
        "patients": {
            "ALL": len(np.unique(subject[is_all])),
            "HEM": len(np.unique(subject[~is_all])),
        },
        "figures": {
            name: {
                "difference": by_patient[name][0],
                "over_patients": by_patient[name][1],
                "over_cells": by_cell[name][1],
            }
            for name in DIFFERENCES
        },
    }
