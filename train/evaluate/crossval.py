"""Cross-validation over patients: every patient is evaluated by a model that has not seen it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.errors import InputError
from train.data.dataset import Cell, Data, cells_of, scan
from train.data.split import VAL_SHARE, Split, cross_validation
from train.evaluate.evaluation import load_scorer, score_cells
from train.evaluate.predictions import NoiseOn, Predictions
from train.fit.recipe import Recipe
from train.fit.run import Progress, Run
from train.fit.training import train

log = logging.getLogger(__name__)


def splits_for(cells: Sequence[Cell], recipe: Recipe, folds: int, seed: int) -> list[Split]:
    """The folds, with a validation side only where the recipe chooses by it."""
    val_share = VAL_SHARE if recipe.fit.schedule == "plateau" else 0.0
    return cross_validation(cells, folds, seed, val_share=val_share)


def cross_validate(
    recipe: Recipe,
    data: Data,
    out: Path,
    *,
    folds: int,
    levels: Sequence[float],
    noise_on: NoiseOn = "network",
    weights: str,
    seed: int = 0,
    settings: dict[str, Any],
    limit: int | None = None,
    teachers: Path | None = None,
) -> tuple[list[Predictions], dict[str, list[dict[str, float]]]]:
    """Train one model per fold and pool their predictions of the patients that each has not seen.

    Called again with the same folder, it continues where it was stopped.

    Args:
        out: gets one run folder per fold: `fold-0` and so on.
        levels: sigmas of the test noise, in 8-bit levels.
        noise_on: which pixels get it.
        weights: see `train.fit.model.mobilenet_m`.
        settings: kept in each run's environment.json.
        limit: at most this many training images per fold, for a quick trial.
        teachers: folder of a cross-validation over the same folds, whose models teach these.

    Returns:
        The pooled predictions, one per noise level, and the training curves by the name of the fold.

    Raises:
        InputError: a class has fewer patients than folds, or the folder holds other folds.
    """
    divisions = splits_for(scan(data), recipe, folds, seed)
    pooled: dict[float, list[np.ndarray]] = {sigma: [] for sigma in levels}
    cells: list[Cell] = []
    curves: dict[str, list[dict[str, float]]] = {}
    for split in divisions:
        log.info(
            "fold %d of %d: training on %d cells, testing on %d",
            split.fold,
            folds,
            len(split.train),
            len(split.test),
        )
        folder = out / f"fold-{split.fold}"
        curves[f"Fold {split.fold}"] = _train_fold(
            folder, recipe, split, settings, data, weights, limit, teachers
        ).history
        held_out = cells_of(data, split.test)
        cells += held_out
        scorer, _ = load_scorer(folder)
        for sigma in levels:
            pooled[sigma].append(score_cells(scorer, data, held_out, sigma, noise_on=noise_on))
        keras.utils.clear_session()
    predictions = [
        Predictions("test", sigma, cells, np.concatenate(pooled[sigma]), noise_on) for sigma in levels
    ]
    return predictions, curves


def _train_fold(
    folder: Path,
    recipe: Recipe,
    split: Split,
    settings: dict[str, Any],
    data: Data,
    weights: str,
    limit: int | None,
    teachers: Path | None,
) -> Progress:
    run = Run(folder)
    if not (folder / "recipe.json").exists():
        run = Run.create(folder, recipe, split, settings)
    elif run.recipe() != recipe or run.split() != split:
        raise InputError(f"{folder}: holds a run of another recipe or other folds; give another --out")
    teacher = teachers / folder.name if teachers else None
    return train(run, data, weights=weights, limit=limit, teacher=teacher)
