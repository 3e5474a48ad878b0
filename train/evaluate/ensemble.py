"""An ensemble: several networks side by side in one model, whose log-odds are the mean of theirs.

Networks that err on different cells are better together than each is alone (Hansen & Salamon 1990,
doi:10.1109/34.58871). Joined they stay a MobileNet_M in shape, of as many times the channels, whose
pointwise convolutions keep the networks apart (groups): evaluation, export and the box need nothing new.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from edge.errors import InputError
from train.data.dataset import Data, cells_of
from train.evaluate import predictions_file
from train.evaluate.predictions import Predictions, Which
from train.evaluate.predictions_file import Row
from train.fit.batches import Floats
from train.fit.recipe import MOBILENET_M
from train.fit.run import Progress, Run

log = logging.getLogger(__name__)

_MAY_DIFFER = {"interpolation", "dropout", "l1", "bn_momentum", "frozen_blocks"}
"""Of the model's recipe: what matters in training alone, and the interpolation, of which a warning tells."""

_SUREST = 1e-6
"""Nearest to 0 and 1 that predictions are written."""


def join_runs(runs: Sequence[Run], out: Path, settings: dict[str, Any]) -> Run:
    """Make a run folder of one network that combines the networks of several runs.

    Args:
        runs: two or more, of the same classes and split, whose networks are alike and see a cell prepared alike.
            Interpolation and the rest of the recipe are the first one's.
        settings: kept in environment.json.

    Raises:
        InputError: they do not fit together, or `out` holds a run already.
    """
    recipes, split = [run.recipe() for run in runs], runs[0].split()
    for run, recipe in zip(runs, recipes, strict=True):
        for key in recipe.model.__struct_fields__:
            mine, first = getattr(recipe.model, key), getattr(recipes[0].model, key)
            if mine != first and key not in _MAY_DIFFER:
                raise InputError(f"{run.folder}: model.{key} is {mine}, that of {runs[0].folder} {first}")
        if recipe.model.interpolation != recipes[0].model.interpolation:
            log.warning(
                "%s was trained with interpolation %s, but the ensemble uses %s",
                run.folder,
                recipe.model.interpolation,
                recipes[0].model.interpolation,
            )
        if run.split() != split:
            raise InputError(f"{run.folder}: trained on another split than {runs[0].folder}")
        if run.classes() != runs[0].classes():
            raise InputError(
                f"{run.folder}: learnt the classes {' and '.join(run.classes().names())}, the positive one first, "
                f"{runs[0].folder} {' and '.join(runs[0].classes().names())}"
            )
    if recipes[0].model.network != MOBILENET_M:
        raise InputError(f"{runs[0].folder}: is a {recipes[0].model.network}; an ensemble is of MobileNet_M")
    if recipes[0].model.members > 1:
        raise InputError(f"{runs[0].folder}: is an ensemble itself; give its members")
    shape = msgspec.structs.replace(recipes[0].model, members=len(runs))
    run = Run.create(out, msgspec.structs.replace(recipes[0], model=shape), split, settings)
    progress = Progress(
        learning_rate=recipes[0].fit.learning_rate, stopped=f"joined from {len(runs)} trained networks"
    )
    run.save(joined([member.best_model() for member in runs]), progress, better=True)
    run.finish(progress)
    return run


def joined(models: Sequence[keras.Model]) -> keras.Model:
    """One network of several `train.fit.model.mobilenet_m` of the same shape.

    Returns:
        From (N, size, size, 3) float32 to (N, 2) float32: the probabilities that belong to the mean of the
        models' log-odds.
    """
    x = entry = keras.Input(models[0].input.shape[1:])
    for layers in zip(*(model.layers[1:] for model in models), strict=True):
        layer = type(layers[0]).from_config(_config(layers[0], len(models)))
        x = layer(x)
        layer.set_weights(_weights(layer, [each.get_weights() for each in layers]))
    return keras.Model(entry, x, name="mobilenet_m")


def _config(layer: keras.Layer, members: int) -> dict[str, Any]:
    config: dict[str, Any] = layer.get_config()
    if isinstance(layer, keras.layers.Conv2D):
        config["filters"] *= members
        if layer.name != "conv1":  # that one sees the image, which they share
            config["groups"] = members
    return config


def _weights(layer: keras.Layer, each: Sequence[Sequence[Floats]]) -> list[Floats]:
    """The members' weights of one layer side by side, kernels and vectors in turn."""
    if isinstance(layer, keras.layers.Dense):
        (kernels, biases), members = zip(*each, strict=True), len(each)
        return [np.concatenate(kernels) / members, np.mean(biases, axis=0)]
    axis = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else -1
    return [np.concatenate(parts, axis) for parts in zip(*each, strict=True)]


def join_predictions(folders: Sequence[Path], data: Data) -> tuple[list[Predictions], bool]:
    """The combined predictions of an ensemble's members, from what `evaluate --out` kept of each.

    Args:
        folders: two or more, of evaluations of the same cells at the same noise levels.
        data: the data set.

    Returns:
        The predictions, and whether the test cells are of patients that no member has trained on.

    Raises:
        InputError: a folder holds no predictions, or those of other cells or with the classes the other way round.
    """
    rows = [predictions_file.read(folder / predictions_file.NAME) for folder in folders]
    each = [_scores(folder_rows) for folder_rows in rows]
    for folder, found in zip(folders, each, strict=True):
        if found.keys() != each[0].keys():
            raise InputError(f"{folder}: evaluated other cells or noise levels than {folders[0]}")
    noise_on = [_first_row(folder).get("noise_on", "network") for folder in folders]
    for folder, its in zip(folders, noise_on, strict=True):
        if its != noise_on[0]:
            raise InputError(
                f"{folder}: its noise is on the {its}'s pixels, that of {folders[0]} on the {noise_on[0]}'s; evaluate "
                "both with the same --noise-on"
            )
    parts: dict[tuple[Which, float], list[str]] = {}
    for which, sigma, path in each[0]:
        parts.setdefault((which, sigma), []).append(path)
    cells = {cell.path: cell for cell in cells_of(data, sorted({path for _, _, path in each[0]}))}
    for folder, folder_rows in zip(folders, rows, strict=True):
        if any(row.label != cells[row.path].label for row in folder_rows):
            raise InputError(
                f"{folder}: its cells have other labels than in the data set; name the positive class with --positive"
            )
    together = []
    for (which, sigma), paths in parts.items():
        scores = np.array([[found[which, sigma, path] for path in paths] for found in each])
        bounded = np.clip(scores, _SUREST, 1 - _SUREST)
        odds = np.log(bounded / (1 - bounded)).mean(axis=0)
        some = [cells[path] for path in paths]
        together.append(Predictions(which, sigma, some, 1 / (1 + np.exp(-odds)), noise_on[0]))
    return together, all(_judged_new_patients(folder) for folder in folders)


def _scores(rows: Sequence[Row]) -> dict[tuple[Which, float, str], float]:
    """Which cells, sigma of their noise and path → probability of ALL."""
    return {(row.cells, row.sigma, row.path): row.score for row in rows}


def are_cross_validations(folders: Sequence[Path]) -> bool:
    """Whether all of some evaluations are cross-validations."""
    return all(_first_row(folder).get("kind") == "cross-validation" for folder in folders)


def _judged_new_patients(folder: Path) -> bool:
    """Whether an evaluation resampled patients, as it does if its test cells are of new ones."""
    return bool(_first_row(folder).get("resampled") == "subjects")


def _first_row(folder: Path) -> dict[str, Any]:
    file = folder / "metrics.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))[0])
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{file}: {error!r}; give the folder of an `evaluate --out`") from error
