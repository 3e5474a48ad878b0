"""Whether the activation map points at the cell: its mass inside the cell's outline, over real cells on black.

python -m export.localise MODEL.tflite --data C-NMC --fold 1   # the test side of the split by image
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.errors import LeukoscopeError
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.explain import Evidence, Explainer
from edge.model.file import ModelFile, read_model
from train.data import crops as crop_cache
from train.data.dataset import Cell, Data, cells_of, data_root, scan
from train.data.split import split_fold
from train.evaluate.metrics import Bools, Floats

CELL_LEVELS = 8
"""A pixel with a channel above this is of the cell: C-NMC cells are cut out on exact black, and resizing
leaves a rim of less."""


def localisation(file: Path, data: Data, cells: list[Cell], name: str) -> dict[str, Any]:
    """How much of what speaks for the verdict lies inside the cell; empty for a model without a map.

    Args:
        file: a model file.
        cells: C-NMC cells, cut out on black.
        name: what the cells are to the model, in words.

    Returns:
        cells, n; chance: mean share of the crop's area that is cell, which a map without any idea would
        have; for ALL and HEM verdicts and all: inside, the mean share of the positive mass that lies in
        the cell, above_chance, the share of the cells where that is more than the cell's area, and
        peak_inside, where the strongest position is mostly cell; `as_it_is` has the same for the map before
        that of an empty field is taken from it.
    """
    model = read_model(file)
    if model.manifest.activation_map() is None:
        return {}
    table, says_all = _shares(model, crop_cache.load(data_root(data), cells, model.manifest.geometry))
    sides = {
        "all cells": np.ones(len(says_all), np.bool_),
        model.manifest.positive_label(): says_all,
        model.manifest.negative_label(): ~says_all,
    }
    judged = {side: of for side, of in sides.items() if of.any()}
    return {
        "cells": name,
        "n": len(cells),
        "by_verdict": {
            side: {"n": int(of.sum())} | _summary(table[of, 0], table[of, 1:3]) for side, of in judged.items()
        },
        "as_it_is": {side: _summary(table[of, 0], table[of, 3:5]) for side, of in judged.items()},
    }


def _shares(model: ModelFile, crops: Pixels) -> tuple[Floats, Bools]:
    """The cell's area and `_inside` of the map, without the empty field and as it is; whether it is called ALL.

    Returns:
        (N, 5) float64 and (N,) bool.
    """
    classifier = Classifier(model)
    explainer = Explainer(classifier, model.manifest)
    rows, says_all = [], []
    for crop in crops:
        says_all.append(classifier.classify_crop(crop).probabilities[explainer.positive] >= 0.5)
        sign = 1 if says_all[-1] else -1
        evidence = explainer.evidence()
        area = cell_area(crop, evidence.shape)
        beyond, as_it_is = sign * evidence, sign * (evidence + explainer.empty)
        rows.append([float(area.mean()), *_inside(beyond, area), *_inside(as_it_is, area)])
    return np.array(rows), np.array(says_all)


def cell_area(crop: Pixels, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """(h, w) float32: the share of each position of a map of that shape that is cell.

    Args:
        crop: (S, S, 3) uint8 RGB, a cell on black.
    """
    mask = (crop.max(2) > CELL_LEVELS).astype(np.float32)
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


def _inside(evidence: Evidence, area: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Share of the positive mass that lies in the cell, and how much of the strongest position is cell."""
    mass = np.maximum(evidence, 0)
    total = float(mass.sum())
    # A map without positive mass points nowhere: it counts as 0 and is not left out.
    inside = float((mass * area).sum()) / total if total > 0 else 0.0
    return inside, float(area.ravel()[int(evidence.argmax())])


def _summary(chance: Floats, shares: Floats) -> dict[str, float]:
    return {
        "chance": float(chance.mean()),
        "inside": float(shares[:, 0].mean()),
        "above_chance": float((shares[:, 0] > chance).mean()),
        "peak_inside": float((shares[:, 1] > 0.5).mean()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the figures of one file as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--fold", type=int, choices=(0, 1, 2), default=1)
    options = parser.parse_args(arguments)
    try:
        split = split_fold(scan(options.data), options.fold, "image", seed=0)
        cells = cells_of(options.data, split.test)
        name = f"test side of fold {options.fold}, split by image"
        print(json.dumps(localisation(options.model, options.data, cells, name), indent=1))
    except LeukoscopeError as error:
        print(f"leukoscope: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
