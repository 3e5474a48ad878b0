"""How good a run or a model file is on images that it has not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.classifier import Classifier
from edge.errors import InputError
from edge.frame import Pixels
from edge.modelfile import read_model
from edge.preprocess import Geometry
from train import crops as crop_cache
from train.augment import add_noise
from train.batches import PlainBatches
from train.dataset import Cell, data_root, scan
from train.fit import Run
from train.metrics import figures
from train.split import Split

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scorer:
    """Something that says how likely a crop is ALL.

    Attributes:
        geometry: of the crops that it takes.
        score: from (N, S, S, 3) uint8 RGB to (N,) float64.
    """

    geometry: Geometry
    score: Callable[[Pixels], Scores]


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

    return Scorer(recipe.geometry, score), run.split()


def int8_scorer(path: Path) -> Scorer:
    """A model file, run by the box's own classifier."""
    model = read_model(path)
    classifier = Classifier(model)

    def score(crops: Pixels) -> Scores:
        return np.array([classifier.classify_crop(crop).probabilities["ALL"] for crop in crops])

    return Scorer(model.manifest.geometry, score)


def cells_of(data: Path, paths: Sequence[str]) -> list[Cell]:
    """The cells that a split names.

    Raises:
        InputError: some are not there.
    """
    by_path = {cell.path: cell for cell in scan(data)}
    missing = [path for path in paths if path not in by_path]
    if missing:
        raise InputError(f"{data}: {len(missing)} images of the split are not there, the first {missing[0]}")
    return [by_path[path] for path in paths]


def score_cells(
    scorer: Scorer, data: Path, cells: Sequence[Cell], noise_sigma_levels: float = 0.0, seed: int = 0
) -> Scores:
    """(N,) float64, the probability of ALL for each cell.

    Args:
        noise_sigma_levels: standard deviation of the noise put on the crops, in 8-bit levels.
    """
    crops = crop_cache.load(data_root(data), cells, scorer.geometry)
    return scorer.score(add_noise(crops, noise_sigma_levels, np.random.default_rng(seed)))


def evaluate_scores(cells: Sequence[Cell], score: Scores) -> dict[str, Any]:
    """All figures of some predictions, and each subject's own."""
    is_all = np.array([cell.label == "ALL" for cell in cells])
    per_subject = {}
    for subject in sorted({cell.subject for cell in cells}):
        mine = np.array([cell.subject == subject for cell in cells])
        right = (score[mine] >= 0.5) == is_all[mine]
        per_subject[subject] = {
            "label": "ALL" if is_all[mine][0] else "HEM",
            "n": int(mine.sum()),
            "accuracy": float(right.mean()),
        }
    return {**figures(is_all, score), "per_subject": per_subject}


def evaluate_noise_levels(
    scorer: Scorer, data: Path, split: Split, levels: Sequence[float]
) -> list[dict[str, Any]]:
    """The figures of a split's test side, once for each noise level."""
    cells = cells_of(data, split.test)
    return [{"sigma": s, **evaluate_scores(cells, score_cells(scorer, data, cells, s))} for s in levels]
