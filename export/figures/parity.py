"""Float and int8 on the same cells: how well they agree, and the metrics of each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.figures.referral import Judged, at_temperature, log_odds, moved, point
from export.int8.convert import representative_sample
from train.data.dataset import LABELS, Cell, Data, cells_of, scan, subject_group
from train.data.split import Split, evenly
from train.evaluate.evaluation import Scores, int8_scorer, load_scorer, of_other_patients, score_cells
from train.evaluate.intervals import Resample
from train.evaluate.metrics import THRESHOLD, figures
from train.evaluate.predictions import figures_of, patients, positives

TRAINING_CELLS = 512
"""How many training cells are compared if there are no others."""

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

_COMPARED = ("accuracy", "auc", "ece")


@dataclass(frozen=True, slots=True)
class CellSet:
    """Cells to compare on.

    Attributes:
        name: what they are to the model, in words.
        resample: see `train.evaluate.predictions.figures_of`.
        judges: whether metrics on them measure the quality of the model.
    """

    name: str
    cells: list[Cell]
    resample: Resample
    judges: bool = True


def some(cells: list[Cell], limit: int | None) -> list[Cell]:
    """At most so many cells, evenly spread, for a quick trial; all without a limit."""
    return [cells[i] for i in evenly(len(cells), limit)]


def cell_sets(data: Data, split: Split, limit: int | None = None) -> list[CellSet]:
    """The cells of a split to compare on, the first for the parity: its test side, or the next best there is.

    Args:
        data: the data set's folder.
        split: of the run.
        limit: at most so many cells of each, for a quick trial; their names say it.
    """
    return [_limited(each, limit) for each in _cell_sets(data, split)]


def _limited(each: CellSet, limit: int | None) -> CellSet:
    if limit is None or limit >= len(each.cells):
        return each
    return replace(each, name=f"{each.name}, {limit} of {len(each.cells)}", cells=some(each.cells, limit))


def _cell_sets(data: Data, split: Split) -> list[CellSet]:
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


def unseen_subjects(data: Data, split: Split) -> list[Cell]:
    """Every cell whose patient, or twin, has no cell on any side of the split."""
    cells = scan(data)
    named = {*split.train, *split.val, *split.test}
    return of_other_patients(cells, (cell for cell in cells if cell.path in named))


def validation(data: Data, split: Split, limit: int | None = None) -> CellSet | None:
    """The validation side of a split, at most so many cells of it; None if it is empty or lacks a class."""
    cells = some(cells_of(data, split.val), limit)
    if len({cell.label for cell in cells}) < len(LABELS):
        return None
    trained = {subject_group(cell.subject) for cell in cells_of(data, split.train)}
    new = not trained & {subject_group(cell.subject) for cell in cells}
    name = f"validation side of fold {split.fold}, split by {split.method}"
    return CellSet(name, cells, "subjects" if new else "cells")


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of some cells by the float model and the int8 file, at temperature 1: probabilities of ALL.

    Attributes:
        float_scores, int8_scores: (N,) float64.
    """

    set: CellSet
    float_scores: Scores
    int8_scores: Scores


def judged(cells: CellSet, int8_scores: Scores) -> Judged:
    """The file's scores at temperature 1, to fit a temperature and a band on."""
    return Judged(
        name=cells.name,
        is_all=positives(cells.cells),
        logits=log_odds(int8_scores),
        patient=patients(cells.cells),
        new_patients=cells.resample == "subjects",
    )


def score(run: Path, file: Path, data: Data, sets: list[CellSet], shift: float = 0.0) -> list[Scored]:
    """Score every set with both.

    Args:
        run: folder of the float model.
        file: the int8 model file, its temperature 1.
        sets: of `cell_sets`.
        shift: of the file's log-odds of ALL, which the float model is given too.
    """
    float_scorer, int8 = load_scorer(run)[0], int8_scorer(file)
    return [
        Scored(
            each,
            moved(score_cells(float_scorer, data, each.cells), shift),
            score_cells(int8, data, each.cells),
        )
        for each in sets
    ]


def metrics(scored: list[Scored], temperature: float, refer_below: float) -> dict[str, Any]:
    """Figures of both on every set that judges: the manifest's `metrics`.

    The int8 ones are of what the box says, so with its temperature, and with what its band does.
    """
    found: dict[str, Any] = {}
    for each in (s for s in scored if s.set.judges):
        calibrated = at_temperature(each.int8_scores, temperature)
        results = {
            kind: figures_of(each.set.cells, scores, each.set.resample)
            for kind, scores in (("float", each.float_scores), ("int8", calibrated))
        }
        found[each.set.name] = {kind: {key: r[key] for key in _KEPT} for kind, r in results.items()}
        bands = np.full(len(calibrated), refer_below)
        found[each.set.name]["int8"]["with_band"] = asdict(
            point(judged(each.set, each.int8_scores), calibrated, bands, refer_below)
        )
    return found


def _auc_drop(both: dict[str, dict[str, Any]]) -> float | None:
    """Points of AUC that int8 loses; None if the cells are of one class."""
    before, after = both["float"]["auc"], both["int8"]["auc"]
    return None if before is None or after is None else 100 * (before - after)


def _verdicts(scores: Scores) -> dict[str, int]:
    """How many cells int8 calls positive and negative."""
    positive = int((scores >= THRESHOLD).sum())
    return {"ALL": positive, "HEM": len(scores) - positive}


def change(drop_points: float) -> str:
    """What int8 does to a figure, in points: "loses 0.20" or "gains 0.20"."""
    return f"loses {drop_points:.2f}" if drop_points > -0.005 else f"gains {-drop_points:.2f}"


def refusals(parity: dict[str, Any], cells: Sequence[Cell], max_drop: float) -> list[str]:
    """Reasons why a file should not be installed on a box; empty if there are none.

    Args:
        parity: of `parity`.
        cells: that it was measured on.
        max_drop: points of accuracy, and of AUC, that int8 may lose.
    """
    found = []
    if parity["drop_points"] > max_drop:
        found.append(f"{change(parity['drop_points'])} points of accuracy, more than --max-drop {max_drop:g}")
    counts = [sum(cell.label == label for cell in cells) for label in LABELS]
    if min(counts) > 0:
        one_pair = 100 / (counts[0] * counts[1])  # two cells that swap verdicts are no loss
        if parity["auc_drop_points"] > max_drop + one_pair:
            found.append(
                f"{change(parity['auc_drop_points'])} points of AUC, more than --max-drop {max_drop:g}"
            )
        if 0 in parity["verdicts"].values():
            found.append(f"gives all {parity['n']} cells of both classes the same verdict")
    return found


def parity(scored: Scored) -> dict[str, Any]:
    """How well the two scores of the same cells agree, both at temperature 1: the manifest's `parity`."""
    cells, float_scores, int8_scores = scored.set.cells, scored.float_scores, scored.int8_scores
    agree = (float_scores >= 0.5) == (int8_scores >= 0.5)
    both = {
        kind: figures(positives(cells), scores)
        for kind, scores in (("float", float_scores), ("int8", int8_scores))
    }
    found: dict[str, Any] = {
        "cells": scored.set.name,
        "n": len(cells),
        "agreement": float(agree.mean()),
        "largest_probability_change": float(np.abs(float_scores - int8_scores).max()),
        "mean_probability_change": float((int8_scores - float_scores).mean()),
        "flipped": [cell.path for cell, same in zip(cells, agree, strict=True) if not same],
        "drop_points": 100 * (both["float"]["accuracy"] - both["int8"]["accuracy"]),
        "auc_drop_points": _auc_drop(both),
        "verdicts": _verdicts(int8_scores),
    }
    if scored.set.judges:
        found |= {kind: {key: each[key] for key in _COMPARED} for kind, each in both.items()}
    return found
