"""Float against int8 on the same cells: how alike they are, and how good each is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.convert import representative_sample
from train.dataset import Cell, scan, subject_group
from train.evaluation import Scores, cells_of, int8_scorer, load_scorer, score_cells
from train.intervals import Resample
from train.predictions import figures_of
from train.split import Split

TRAINING_CELLS = 512
"""How many cells of the training are compared where no others are left."""

# What the manifest keeps of an evaluation.
_KEPT = (
    "n",
    "confusion",
    "accuracy",
    "weighted_f1",
    "auc",
    "auc_hard_labels",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ece",
    "groups",
    "by_subject",
    "resampled",
    "intervals",
    "per_subject",
)


@dataclass(frozen=True, slots=True)
class CellSet:
    """Cells to compare on.

    Attributes:
        name: what they are to the model, in words.
        resample: see `train.predictions.figures_of`.
        judges: whether figures on them say anything of how good the model is.
    """

    name: str
    cells: list[Cell]
    resample: Resample
    judges: bool = True


def cell_sets(data: Path, split: Split) -> list[CellSet]:
    """The cells of a split to compare on, the first for the parity: its test side, or the next best there is."""
    resample: Resample = "cells" if split.method == "image" else "subjects"
    whole = f"fold {split.fold}, split by {split.method}"
    if split.test:
        sets = [CellSet(f"test side of {whole}", cells_of(data, split.test), resample)]
    elif split.val:
        name = f"validation side of {whole} (it chose the epoch; there is no test side)"
        sets = [CellSet(name, cells_of(data, split.val), resample)]
    else:
        trained = cells_of(data, split.train)
        some = representative_sample([(cell.label, cell.subject) for cell in trained], TRAINING_CELLS)
        name = "training (no others are left)"
        sets = [CellSet(name, [trained[i] for i in some], resample, judges=False)]
    others = unseen_subjects(data, split)
    return [*sets, CellSet("other subjects", others, "subjects")] if others else sets


def unseen_subjects(data: Path, split: Split) -> list[Cell]:
    """Every cell whose patient, or twin, has no cell on any side of the split."""
    cells = scan(data)
    named = {*split.train, *split.val, *split.test}
    seen = {subject_group(cell.subject) for cell in cells if cell.path in named}
    return [cell for cell in cells if subject_group(cell.subject) not in seen]


def measure(run: Path, file: Path, data: Path, sets: list[CellSet]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of both on every set that judges, and the parity on the first set.

    Args:
        run: folder of the float model.
        file: the int8 model file.
        sets: of `cell_sets`.

    Returns:
        What a manifest has as `metrics` and `parity`.
    """
    scorers = {"float": load_scorer(run)[0], "int8": int8_scorer(file)}
    metrics: dict[str, Any] = {}
    parity: dict[str, Any] = {}
    for each in sets:
        scores = {kind: score_cells(scorer, data, each.cells) for kind, scorer in scorers.items()}
        results = {kind: figures_of(each.cells, score, each.resample) for kind, score in scores.items()}
        if each.judges:
            metrics[each.name] = {kind: {key: r[key] for key in _KEPT} for kind, r in results.items()}
        if not parity:
            parity = compare(each, scores["float"], scores["int8"])
            parity["drop_points"] = 100 * (results["float"]["accuracy"] - results["int8"]["accuracy"])
    return metrics, parity


def compare(cells: CellSet, float_scores: Scores, int8_scores: Scores) -> dict[str, Any]:
    """How alike two scores of the same cells are, both (N,) probabilities of ALL."""
    agree = (float_scores >= 0.5) == (int8_scores >= 0.5)
    return {
        "cells": cells.name,
        "n": len(cells.cells),
        "agreement": float(agree.mean()),
        "largest_probability_change": float(np.abs(float_scores - int8_scores).max()),
        "mean_probability_change": float((int8_scores - float_scores).mean()),
        "flipped": [cell.path for cell, same in zip(cells.cells, agree, strict=True) if not same],
    }
