"""Evaluation of a run or a model file on images that it was not trained on."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.host.terminal import progress as bars
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from edge.model.classifier import Classifier
from edge.model.file import read_model
from train.data import crops as crop_cache
from train.data.dataset import OFFICIAL_CLASSES, Cell, Classes, Data, cells_of, data_root, scan, subject_group
from train.data.split import SIDES, Split, evenly, fold_cells
from train.evaluate.intervals import LEVEL, RESAMPLES, SEED
from train.evaluate.predictions import NoiseOn, Predictions, Which
from train.fit.augment import add_noise
from train.fit.batches import PlainBatches
from train.fit.run import Run, environment

Scores = npt.NDArray[np.float64]

# Keys of a manifest's training that identify the split.
_SPLIT_FACTS = ("fold", "split", "split_seed")
_TRAINING_FACTS = (*_SPLIT_FACTS, "split_sha256", "recipe", "epochs", "best_epoch")
_BLOCK = 512
"""Crops that get their noise at once: 0.3 GB at float32 and 224 x 224 pixels."""


@dataclass(frozen=True)
class Scorer:
    """A model that gives the probability of the positive class for a crop.

    Attributes:
        geometry: of the crops that it takes.
        score: from (N, S, S, 3) uint8 RGB to (N,) float64.
        training: what is known of its training, as in a manifest: fold, split, split_seed, split_sha256,
            recipe, epochs, best_epoch.
        seen: paths of the images that trained or chose it; None if only a model file is there.
        patients: those that they are of, as `train.data.dataset.subject_group` names them; None if that is not
            known.
        sha256: of the model file, "" for a run.
        classes: names of the positive and the negative class.
    """

    geometry: Geometry
    score: Callable[[Pixels], Scores]
    training: Mapping[str, Any] = field(default_factory=dict)
    seen: frozenset[str] | None = None
    patients: frozenset[str] | None = None
    sha256: str = ""
    classes: Classes = OFFICIAL_CLASSES


def load_scorer(path: Path) -> tuple[Scorer, Split | None]:
    """The float model of a run folder with its split, or an int8 model file.

    Raises:
        InputError: it is neither.
    """
    if not path.is_dir():
        return int8_scorer(path), None
    run = Run(path)
    recipe, model = run.recipe().model, run.best_model()

    def score(crops: Pixels) -> Scores:
        cells = [Cell("", "ALL", "", "")] * len(crops)  # only the pixels are used
        return np.asarray(model.predict(PlainBatches(crops, cells, recipe), verbose=0), np.float64)[:, 0]

    split, progress = run.split(), run.progress()
    training = {
        "fold": split.fold,
        "split": split.method,
        "split_seed": split.seed,
        "split_sha256": split.sha256(),
        "recipe": run.environment().get("recipe", ""),
        "epochs": progress.epoch if progress else 0,
        "best_epoch": progress.best_epoch if progress else 0,
    }
    seen = frozenset([*split.train, *split.val])
    return Scorer(recipe.geometry, score, training, seen, patients_of(run), classes=run.classes()), split


def patients_of(run: Run) -> frozenset[str] | None:
    """Who trained or chose a run, twins under one name; None if its data set is not there any more."""
    split = run.split()
    try:
        subjects = {cell.path: cell.subject for cell in scan(run.data_set(None, None))}
        return frozenset(subject_group(subjects[path]) for path in (*split.train, *split.val))
    except (InputError, KeyError):
        return None


def int8_scorer(path: Path) -> Scorer:
    """A model file, run by the box's own classifier."""
    model = read_model(path)
    classifier, manifest = Classifier(model), model.manifest
    positive = manifest.positive_label()
    classes = Classes(positive, manifest.negative_label())

    def score(crops: Pixels) -> Scores:
        return np.array([classifier.classify_crop(crop).probabilities[positive] for crop in crops])

    patients = manifest.training.get("patients")
    return Scorer(
        manifest.geometry,
        score,
        manifest.training,
        patients=None if patients is None else frozenset(patients),
        sha256=model.sha256,
        classes=classes,
    )


def score_cells(
    scorer: Scorer,
    data: Data,
    cells: Sequence[Cell],
    noise_sigma_levels: float = 0.0,
    seed: int = 0,
    noise_on: NoiseOn = "network",
) -> Scores:
    """(N,) float64, the probability of ALL for each cell.

    Args:
        noise_sigma_levels: standard deviation of the noise, in 8-bit levels.
        noise_on: which pixels get it.
    """
    small = scorer.geometry
    on_camera = noise_on == "camera" and noise_sigma_levels > 0
    geometry = msgspec.structs.replace(small, size=small.crop) if on_camera else small
    crops = crop_cache.load(data_root(data), cells, geometry)
    rng = np.random.default_rng(seed)
    scores = []
    with bars.progress(f"evaluating, noise {noise_sigma_levels:g}", len(cells)) as (step, _):
        for start in range(0, len(cells), _BLOCK):
            block = add_noise(crops[start : start + _BLOCK], noise_sigma_levels, rng)
            if on_camera:
                block = np.stack([prepare(crop, small) for crop in block])
            scores.append(scorer.score(block))
            step(times=len(block))
    return np.concatenate(scores) if scores else np.zeros(0)


def other_subjects(data: Data, fold: int) -> list[Cell]:
    """Every cell whose patient, or twin, has no cell in the fold that was trained on."""
    cells = scan(data)
    return of_other_patients(cells, fold_cells(cells, fold))


def of_other_patients(cells: Sequence[Cell], known: Iterable[Cell]) -> list[Cell]:
    """The cells whose patient, or twin, has none among those that are known."""
    seen = {subject_group(cell.subject) for cell in known}
    return [cell for cell in cells if subject_group(cell.subject) not in seen]


def judge(
    scorer: Scorer,
    data: Data,
    split: Split,
    levels: Sequence[float],
    *,
    noise_on: NoiseOn = "network",
    limit: int | None = None,
) -> list[Predictions]:
    """Score a split's test list at each noise level and, if its patients are not new, other subjects too.

    A split by image tests on patients that the model was trained on. So that its metrics are never reported
    alone, the cells of all patients outside the fold of the training are scored as well.

    Args:
        levels: sigmas of the noise, in 8-bit levels.
        noise_on: which pixels get it.
        limit: at most this many cells of each set, for a quick trial.

    Raises:
        InputError: the test side is empty, or images are not there.
    """
    if not split.test:
        raise InputError("the split's test list is empty; give one from `leukoscope dataset split`")
    sets: dict[Which, list[Cell]] = {"test": cells_of(data, split.test)}
    if not judges_new_patients(scorer, split, sets["test"]):
        sets["other_subjects"] = _new_patients(scorer, data, split)
    if limit:
        sets = {which: [cells[i] for i in evenly(len(cells), limit)] for which, cells in sets.items()}
    return [
        Predictions(which, sigma, cells, score_cells(scorer, data, cells, sigma, noise_on=noise_on), noise_on)
        for sigma in levels
        for which, cells in sets.items()
        if cells
    ]


def _new_patients(scorer: Scorer, data: Data, split: Split) -> list[Cell]:
    """Cells of patients that were certainly not used for training; none if that is not known."""
    if scorer.patients is not None:
        return [cell for cell in scan(data) if subject_group(cell.subject) not in scorer.patients]
    kind, fold = scorer.training.get("split", split.method), scorer.training.get("fold", split.fold)
    if kind == "image":
        return other_subjects(data, fold)
    if scorer.seen is None:  # of a split by subject the file does not say which patients it left out
        return []
    cells = scan(data)
    return of_other_patients(cells, (cell for cell in cells if cell.path in scorer.seen))


def judges_new_patients(scorer: Scorer, split: Split, cells: Sequence[Cell]) -> bool:
    """Whether no patient of the test list was used for training.

    That is known if it is known who trained, and if the split is by subject and is the one that the model was
    trained with.

    Args:
        cells: of the test list.
    """
    if scorer.patients is not None and not any(subject_group(c.subject) in scorer.patients for c in cells):
        return True
    return split.method == "subject" and scorer.training.get("split_sha256") == split.sha256()


def cautions(scorer: Scorer, split: Split, cells: Sequence[Cell]) -> list[str]:
    """Warnings if test images may have been used for training.

    Args:
        cells: of the test list.
    """
    if scorer.training.get("split_sha256") == split.sha256():
        return []
    known = len(scorer.seen.intersection(split.test)) if scorer.seen is not None else 0
    if known:
        return [f"{known} of the {len(split.test)} judged images trained or chose this model"]
    if scorer.patients is not None:
        theirs = sum(subject_group(cell.subject) in scorer.patients for cell in cells)
        return (
            [f"{theirs} of the {len(cells)} test cells are of patients that were used for training"]
            if theirs
            else []
        )
    if scorer.seen is not None:
        return []
    trained = ", ".join(f"{key} {scorer.training[key]}" for key in _SPLIT_FACTS if key in scorer.training)
    return [
        f"the model was not trained with this split (but with {trained or 'an unknown one'}): test images may have "
        "been used for training; results may be too optimistic"
    ]


def histories(subject: Path) -> dict[str, list[dict[str, float]]]:
    """The training curves of a run folder, by name; none of a model file."""
    progress = Run(subject).progress() if subject.is_dir() else None
    return {"The training of this model": progress.history} if progress and progress.history else {}


def facts(subject: str, scorer: Scorer, split: Split, command: Sequence[str]) -> dict[str, str]:
    """How an evaluation was made, by name, as its report tells.

    Args:
        subject: the run folder or model file.
        command: that made the report, word by word.
    """
    trained = ", ".join(f"{key} {scorer.training[key]}" for key in _TRAINING_FACTS if key in scorer.training)
    geometry = scorer.geometry
    return {
        "Evaluated": subject + (f" (int8, sha256 {scorer.sha256})" if scorer.sha256 else ""),
        "Trained with": trained or "not known",
        "Crop": f"{geometry.crop} pixels, resized to {geometry.size} ({geometry.interpolation})",
        "Split": f"fold {split.fold}, by {split.method}, seed {split.seed}, sha256 {split.sha256()}",
        "Images in each set": ", ".join(f"{side} {len(split.side(side))}" for side in SIDES),
        **how_made(command),
    }


def how_made(command: Sequence[str]) -> dict[str, str]:
    """Intervals, time, versions and command of a report, by name."""
    packages = environment()["packages"]
    return {
        "Intervals": f"percentile bootstrap, {LEVEL:.0%}, {RESAMPLES} resamples within each class, seed {SEED}",
        "Made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "Versions": ", ".join(f"{name} {number}" for name, number in packages.items()),
        "Command": shlex.join(command),
    }
